#!/usr/bin/env python3
"""gta generate and gta eval beside transformers on the model that gta export writes.

    generation_check.py RUN TEXT [--gta build/release/bin/gta]

Greedy continuations with a repetition penalty, of several prompts, have to be the same tokens; the loss of TEXT with a sliding
window has to be that of the loop in Hugging Face's guide to perplexity, to five digits. Needs torch and transformers."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["In the beginning", "And the LORD said unto Moses", "Blessed are", "The king of Israel went"]


def guide_loss(model, ids, window, stride):
    """Its max_length counts the last label too: window + 1."""
    length, previous, total, scored = ids.shape[1], 0, 0.0, 0
    for begin in range(0, length, stride):
        end = min(begin + window + 1, length)
        inputs = ids[:, begin:end]
        labels = inputs.clone()
        labels[:, :previous - end] = -100
        with torch.no_grad():
            log_p = torch.log_softmax(model(inputs).logits[0, :-1].double(), -1)
        for row, label in enumerate(labels[0, 1:].tolist()):
            if label != -100:
                total -= log_p[row, label].item()
                scored += 1
        previous = end
        if end == length:
            return total / scored, scored


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("run")
    arguments.add_argument("text")
    arguments.add_argument("--gta", default="build/release/bin/gta")
    given = arguments.parse_args()
    different = 0

    def gta(*words):
        return subprocess.run([given.gta, *words], check=True, capture_output=True, text=True).stdout

    with tempfile.TemporaryDirectory() as folder:
        exported = os.path.join(folder, "exported")
        gta("export", given.run, "--out", exported)
        model = AutoModelForCausalLM.from_pretrained(exported, trust_remote_code=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(exported, trust_remote_code=True)
    for prompt in PROMPTS:
        for penalty in (1.0, 1.3, 0.7):
            ours = json.loads(gta("generate", given.run, "--device", "cpu", "--prompt", prompt, "--temperature", "0", "--max-tokens", "40",
                                  "--repetition-penalty", str(penalty), "--json"))["tokens"]
            asked = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
            theirs = model.generate(**asked, max_new_tokens=40, do_sample=False, repetition_penalty=penalty, pad_token_id=0)[0]
            same = theirs[asked["input_ids"].shape[1]:].tolist() == ours
            different += not same
            print(f"{prompt!r}, penalty {penalty}: {'same' if same else 'DIFFERENT'}")
    ids = tokenizer(open(given.text).read(), return_tensors="pt").input_ids
    ids = torch.cat([ids, torch.tensor([[tokenizer.eos_token_id]])], 1)  # as gta's documents end
    for window, stride in ((64, 16), (64, 64), (100, 37)):
        ours = json.loads(gta("eval", given.run, "--device", "cpu", "--text", given.text, "--window", str(window), "--stride", str(stride), "--json"))
        loss, scored = guide_loss(model, ids, window, stride)
        same = abs(ours["loss"] / loss - 1) < 1e-5 and ours["tokens"] == scored
        different += not same
        print(f"window {window}, stride {stride}: {ours['loss']:.6f} and {loss:.6f} over {scored} tokens: {'same' if same else 'DIFFERENT'}")
    sys.exit(3 if different else 0)


main()
