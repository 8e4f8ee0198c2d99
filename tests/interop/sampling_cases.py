#!/usr/bin/env python3
"""What transformers' logits processors leave of made logits, for tests/launch/generation/token_choice_test.cpp.

    sampling_cases.py --check        compares with the committed cases, and says what float32 would have changed
    sampling_cases.py > tests/launch/generation/sampling_cases.json

Processors run in the order of GenerationMixin._get_logits_processor, in float64: sets of tokens then do not hang on how
a cumulative sum of float32 was rounded. Needs torch and transformers."""
import json
import os
import sys

import torch
from transformers import (LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
                          TopKLogitsWarper, TopPLogitsWarper)

FILE = os.path.join(os.path.dirname(__file__), "..", "launch", "generation", "sampling_cases.json")
SHOWN = 30


def made_logits(seed, vocab, shift):
    """The test makes the same: 24 bits of a congruential generator, exact in float32."""
    state, logits = seed, []
    for _ in range(vocab):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        logits.append(((state >> 40) / 2**20 - 8) / 2**shift)
    return logits


def remaining(case, dtype):
    scores = torch.tensor([made_logits(case["seed"], case["vocab"], case["shift"])], dtype=dtype)
    earlier = torch.tensor([case["earlier"]], dtype=torch.long)
    processors = LogitsProcessorList()
    if case["repetition_penalty"] != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(case["repetition_penalty"]))
    processors.append(TemperatureLogitsWarper(case["temperature"]))
    if case["top_k"]:
        processors.append(TopKLogitsWarper(case["top_k"]))
    if case["top_p"] < 1:
        processors.append(TopPLogitsWarper(case["top_p"]))
    if case["min_p"]:
        processors.append(MinPLogitsWarper(case["min_p"]))
    probabilities = torch.softmax(processors(earlier, scores), dim=-1)[0]
    kept = torch.nonzero(probabilities)[:, 0].tolist()
    order = sorted(kept, key=lambda token: (-probabilities[token].item(), token))
    return order, probabilities


def cases():
    made = []
    for number in range(72):
        vocab = [7, 150, 2048, 32000][number % 4]
        made.append({
            "seed": 1000 + number, "vocab": vocab, "shift": [0, 1, 2][number % 3],
            "temperature": [1.0, 0.7, 1.5, 3.0, 0.25][number % 5],
            "top_k": [0, 3, 0, 50, 0, 0, 1000][number % 7],
            "top_p": [1.0, 0.9, 0.5, 0.999, 0.05, 0.0][number % 6] if number % 11 else 0.95,
            "min_p": [0.0, 0.05, 0.0, 0.5, 0.001, 0.0, 0.0, 1.0][number % 8],
            "repetition_penalty": [1.0, 1.2, 0.8, 1.0, 5.0][(number // 2) % 5],
            "earlier": [(number * 31 + 7 * i * i) % vocab for i in range(1 + number % 9)],
        })
    for case in made:
        order, probabilities = remaining(case, torch.float64)
        case["kept"] = len(order)
        case["sum"] = sum(order)
        case["tokens"] = order[:SHOWN]
        case["probabilities"] = [float(f"{probabilities[token].item():.12g}") for token in order[:SHOWN]]
    return made


def main():
    made = cases()
    if sys.argv[1:] == ["--check"]:
        same = made == json.load(open(FILE))
        others = sum(set(remaining(case, torch.float32)[0]) != set(remaining(case, torch.float64)[0]) for case in made)
        print(f"{len(made)} cases, {'as' if same else 'NOT as'} committed; float32 keeps another set in {others}")
        sys.exit(0 if same else 3)
    print("[")
    print(",\n".join(json.dumps(case) for case in made))
    print("]")


main()
