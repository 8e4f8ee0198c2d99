"""TensorBoard's own reader must see the numbers of metrics.jsonl: live, after a kill, and after a resume that goes back.

    python tensorboard_interop.py GTA CONFIG RUN
"""
import glob
import json
import math
import shutil
import subprocess
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

gta, config, run = sys.argv[1:]


def train(*sets):
    words = [gta, "train", config, "--run-dir", run]
    for text in sets:
        words += ["--set", text]
    subprocess.run(words, check=True)


def expected():
    scalars = {}
    with open(run + "/metrics.jsonl") as file:
        for row in map(json.loads, file):
            kind = "validation" if row["kind"] in ("validation", "breakdown") else "train"
            for key, value in row.items():
                if key in ("step", "kind", "time"):
                    continue
                group, _, rest = key.partition("_")
                tag = f"{group}/{rest}" if group in ("validation", "memory") else f"{kind}/{key}"
                scalars.setdefault(tag, []).append((row["step"], float(numpy.float32(math.nan if value is None else value))))
    return scalars


def read(accumulator):
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def compare(what, found):
    wanted = expected()
    assert found.keys() == wanted.keys(), (what, sorted(found), sorted(wanted))
    for tag in wanted:
        assert numpy.array_equal(found[tag], wanted[tag], equal_nan=True), (what, tag, found[tag], wanted[tag])
    print(what, len(wanted), "tags", sum(map(len, wanted.values())), "values")


everything = {"scalars": 0}
train("train.steps=12", "train.evaluate_every_steps=2")
live = EventAccumulator(run + "/tensorboard", everything)
compare("a whole run", read(live))
for name in ("09", "12"):
    shutil.rmtree(f"{run}/checkpoints/step-000000{name}")
train("train.steps=15", "train.evaluate_every_steps=4")
assert len(glob.glob(run + "/tensorboard/*tfevents*")) == 2
compare("resumed, read anew", read(EventAccumulator(run + "/tensorboard", everything)))
compare("resumed, TensorBoard open all the time", read(live))
# What a kill leaves behind: a row and a record that were not written to their ends.
newest = sorted(glob.glob(run + "/tensorboard/*tfevents*"))[-1]
with open(newest, "rb") as file:
    torn = file.read(20)
with open(newest, "ab") as file:
    file.write(torn)
with open(run + "/metrics.jsonl", "ab") as file:
    file.write(b'{"step":16,"lo')
train("train.steps=18", "train.evaluate_every_steps=4")
compare("killed and resumed", read(EventAccumulator(run + "/tensorboard", everything)))
