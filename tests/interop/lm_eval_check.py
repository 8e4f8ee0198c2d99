#!/usr/bin/env python3
"""gta eval --task beside lm-evaluation-harness on the same model and the same made items.

    lm_eval_check.py RUN --gta build/release/bin/gta [--items 84] [--few-shot N]
                                 accuracies of six kinds of task, equal or not, with N of 50 solved examples before each item
    lm_eval_check.py --prompts   what the harness asks for the lines of task_items_test.cpp, and with two examples, for few_shot_test.cpp

Needs lm-eval 0.4.13 (pip install lm-eval==0.4.13 transformers torch). The harness reads its own task files, with our
lines in place of their data sets, and loads what `gta export` writes."""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
import lm_eval
from lm_eval.tasks import TaskManager

KINDS = {
    "hellaswag": "hellaswag/hellaswag.yaml",
    "piqa": "piqa/piqa.yaml",
    "arc": "arc/arc_easy.yaml",
    "winogrande": "winogrande/default.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "lambada": "lambada/lambada_openai.yaml",
}
TEST_LINES = {
    "hellaswag": {"ind": 4, "activity_label": "Removing ice", "ctx_a": "A man [step] is  seen.", "ctx_b": "he THEN", "ctx": "not used",
                  "endings": [" runs. [title] Stop", "b", "c  d", "[x]e "], "label": "2"},
    "piqa": {"goal": "How?", "sol1": "so", "sol2": "or so ", "label": 1},
    "arc": {"id": "1", "question": "Why?", "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]}, "answerKey": "C"},
    "winogrande": {"sentence": "Ann saw Bea because _ was  there. ", "option1": "Ann", "option2": "Bea", "answer": "2"},
    "boolq": {"question": "is it so", "passage": "Some text.", "label": 1},
    "lambada": {"text": "one two  three"},
}
WORDS = ("the and of that he LORD unto shall for his in to a they be is him not them it with all thou thy was God which my me said "
         "but ye their have will thee from as are when this out were upon man by you Israel king son up there hath then people came "
         "had house into on her come one we children before your also day land men let go no made hand us saying if at every even "
         "Über naïve 中文 [title] 12 7").split(" ")


def made_items(kind, count, what="items"):
    draw = random.Random(f"{what} of {kind}")

    def text(least, most):
        words = [draw.choice(WORDS) for _ in range(draw.randint(least, most))]
        return " ".join(words) + draw.choice(["", ".", ",", "?"])

    items = []
    for number in range(count):
        long = 400 if number % 12 == 11 else 20  # some are longer than the model's context
        if kind == "hellaswag":
            items.append({"activity_label": text(1, 3), "ctx_a": text(3, long), "ctx_b": draw.choice(["", text(1, 5)]),
                          "endings": ["q" + text(2, 12) for _ in range(4)], "label": str(draw.randrange(4))})
        elif kind == "piqa":
            items.append({"goal": text(3, long), "sol1": text(1, 15), "sol2": text(1, 15), "label": draw.randrange(2)})
        elif kind == "arc":
            labels = "ABCDE"[:draw.randint(3, 5)] if number % 3 else "1234"
            items.append({"question": text(3, long), "choices": {"text": [text(1, 8) for _ in labels], "label": list(labels)},
                          "answerKey": draw.choice(labels)})
        elif kind == "winogrande":
            items.append({"sentence": text(3, long) + " _ " + text(2, 9), "option1": draw.choice(WORDS), "option2": draw.choice(WORDS),
                          "answer": draw.choice("12")})
        elif kind == "boolq":
            items.append({"passage": text(10, 3 * long), "question": text(3, 9), "label": draw.randrange(2)})
        else:
            items.append({"text": text(5, long) + draw.choice([" ", "  ", "\n "]) + draw.choice(WORDS)})
    return items


def harness_task(folder, kind, items, examples):
    """The harness's own task, with our lines as its data. The files of both."""
    data, solved = (os.path.join(folder, f"{kind}{name}.jsonl") for name in ("", "-examples"))
    for path, lines in ((data, items), (solved, examples)):
        with open(path, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    metrics = ["perplexity", "acc"] if kind == "lambada" else ["acc", "acc_norm", "acc_bytes"]
    shipped = os.path.join(os.path.dirname(lm_eval.__file__), "tasks", KINDS[kind])
    with open(os.path.join(folder, kind + ".yaml"), "w") as file:
        file.write(f"include: {shipped}\ntask: our_{kind}\ndataset_path: json\ndataset_name: null\n"
                   f"dataset_kwargs:\n  data_files:\n    validation: {data}\n    train: {solved}\n"
                   "training_split: train\nvalidation_split: validation\ntest_split: null\nfewshot_split: train\nmetric_list:\n" +
                   "".join(f"  - metric: {name}\n    aggregation: {'perplexity' if name == 'perplexity' else 'mean'}\n"
                           f"    higher_is_better: {str(name != 'perplexity').lower()}\n" for name in metrics))
    return data, solved


def print_prompts(few_shot):
    """Of the lines one by one, with so many of three made examples."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, line in TEST_LINES.items():
            examples = [{**line, **made} for made in made_items(kind, 3, "examples")]
            if few_shot:
                print(*(json.dumps(example, ensure_ascii=False) for example in examples), sep="\n")
            harness_task(folder, kind, [line], examples)
        manager = TaskManager(include_path=folder)
        for kind in TEST_LINES:
            loaded = manager.load_task_or_group([f"our_{kind}"]) if hasattr(manager, "load_task_or_group") else manager.load([f"our_{kind}"])["tasks"]
            task = list(loaded.values())[0]
            task.set_config("num_fewshot", few_shot)
            task.set_fewshot_seed(1234)
            task.build_all_requests(limit=None, rank=0, world_size=1)
            for instance in task.instances:
                print(kind, *(repr(argument) for argument in instance.args))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("run", nargs="?")
    arguments.add_argument("--gta", default="build/release/bin/gta")
    arguments.add_argument("--items", type=int, default=84)
    arguments.add_argument("--few-shot", type=int, default=0)
    arguments.add_argument("--prompts", action="store_true")
    given = arguments.parse_args()
    if given.prompts:
        for few_shot in (0, 2):
            print_prompts(few_shot)
        return
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        exported = os.path.join(folder, "exported")
        subprocess.run([given.gta, "export", given.run, "--out", exported], check=True)
        files = {kind: harness_task(folder, kind, made_items(kind, given.items), made_items(kind, 50, "examples")) for kind in KINDS}
        results = lm_eval.simple_evaluate(
            model="hf", model_args=dict(pretrained=exported, trust_remote_code=True, dtype="float32"), device="cpu", batch_size=8, num_fewshot=given.few_shot,
            tasks=[f"our_{kind}" for kind in KINDS], task_manager=TaskManager(include_path=folder), bootstrap_iters=1000)["results"]
        for kind, (file, examples) in files.items():
            shots = ["--few-shot", str(given.few_shot), "--few-shot-from", examples] if given.few_shot else []
            ours = json.loads(subprocess.run([given.gta, "eval", given.run, "--task", file, "--task-fields", kind, "--device", "cpu", "--json", *shots],
                                             check=True, capture_output=True, text=True).stdout)
            theirs = {name.split(",")[0]: value for name, value in results[f"our_{kind}"].items() if name.endswith(",none")}
            for name, value in theirs.items():
                if name == "perplexity_stderr":  # theirs is a bootstrap's
                    print(f"{kind:12}{name:18}{ours[name]:14.6g}{value:14.6g}")
                    continue
                same = abs(ours[name] - value) <= 1e-4 * abs(value) if name == "perplexity" else abs(ours[name] - value) < 1e-9
                different += not same
                print(f"{kind:12}{name:18}{ours[name]:14.6g}{value:14.6g}  {'same' if same else 'DIFFERENT'}")
    print(f"{given.items * len(KINDS)} items, {different} numbers differ")
    sys.exit(3 if different else 0)


main()
