"""What the tests of whole trainings share (tests/faults, tests/cluster): a small one, and what has to be equal at its end."""
import json
import random
import subprocess

CONFIG = """name: faults
model:
  hidden_size: 64
  layers: 2
  intermediate_size: 128
  heads: 4
  head_dim: 16
  attention: {{type: gta, query_heads: 2, key_heads: 1, latent_heads: 1, latent_dim: 32}}
data: {{tokenizer: t.model, train: [shards/train-*.h5], validation: [shards/train-*.h5], sequence_length: 64}}
optimizer: {{learning_rate: 1.0e-3, schedule: {{type: constant, warmup_steps: 2}}}}
train: {{validation_tokens: 4000, {train}}}
"""


def make_training(gta, folder, train):
    """Text, tokenizer, shards and run.yaml, with what `train` says of its keys."""
    chance = random.Random(1)
    words = " ".join("".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 7))) for _ in range(60000))
    (folder / "text.txt").write_text(words)
    for command in (["data", "tokenizer", "--input", "text.txt", "--vocab-size", "320", "--out", "t.model"],
                    ["data", "shards", "--input", "text.txt", "--tokenizer", "t.model", "--out", "shards"]):
        subprocess.run([gta, *command], cwd=folder, check=True, capture_output=True)
    write_config(folder, train)


def write_config(folder, train, name="run.yaml"):
    (folder / name).write_text(CONFIG.format(train=train))


def lines_of_metrics(run):
    """As many as steps, and a few."""
    try:
        return len((run / "metrics.jsonl").read_bytes().splitlines())
    except OSError:
        return 0


def state_of(run):
    """What has to be equal: every hash of weights and moments, and every step's loss."""
    manifest = json.loads((run / "checkpoints/latest/manifest.json").read_text())["manifest"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return ([(r["part"], r["parameter"], r["first"], r["xxh3"]) for r in manifest["ranges"]],
            [(row["step"], row["loss"]) for row in rows if row["kind"] == "step"])
