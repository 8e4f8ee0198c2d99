"""An exported folder in transformers: logits, generation with and without a cache, the tokenizer.

    transformers_check.py FOLDER TOKENS.npy LOGITS.npy TEXT.txt GENERATED.txt PROMPT GRADIENTS.safetensors

TOKENS int32 (batch, sequence) and LOGITS float32 as `gta eval --tokens --logits-out` has them, GENERATED what `gta generate --temperature 0`
printed for PROMPT, GRADIENTS ours of the mean loss of TOKENS[:, 1:]. Prints one line a check; exit code 1 where one does not hold.
"""
import sys

import numpy as np
import sentencepiece
import torch
import transformers
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-4  # of the largest logit
GRADIENT_TOLERANCE = 1e-3  # of a tensor's largest gradient


def main(folder, tokens_file, logits_file, text_file, generated_file, prompt, gradients_file):
    transformers.logging.set_verbosity_error()
    failed = 0

    def check(name, holds, seen):
        nonlocal failed
        failed += not holds
        print(f"{'holds' if holds else 'FAILS'}  {name}: {seen}")

    tokens, expected = np.load(tokens_file), np.load(logits_file)
    for implementation in ("eager", "sdpa"):
        model, info = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32,
                                                           attn_implementation=implementation, output_loading_info=True)
        left = [name for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in info[key]]
        check(f"{implementation}: every weight has its place", not left, left or "all")
        with torch.no_grad():
            logits = model(torch.from_numpy(tokens).long()).logits.numpy()
        error = np.abs(logits - expected).max() / np.abs(expected).max()
        check(f"{implementation}: logits of {type(model).__name__}", error <= TOLERANCE, f"{error:.1e} of the largest")

    model.train()
    inputs = torch.from_numpy(tokens).long()
    model(inputs, labels=inputs).loss.backward()
    theirs, ours = {name: p.grad.numpy() for name, p in model.named_parameters()}, load_file(gradients_file)
    worst = max((np.abs(ours[name] - theirs[name]).max() / max(np.abs(ours[name]).max(), 1e-6), name) for name in ours)
    check("gradients of one step", worst[0] <= GRADIENT_TOLERANCE and set(ours) <= set(theirs), f"{worst[0]:.1e} of the largest of {worst[1]}, of {len(ours)} tensors")
    model.eval()

    fast = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    slow = sentencepiece.SentencePieceProcessor(model_file=folder + "/tokenizer.model")
    lines = open(text_file, encoding="utf-8").read().split("\n")
    lines += ["", " ", "  two  spaces ", "tabs\tand\r\n", "caf\u00e9 \U0001f600 \u4e2d", "a" * 100, " a  b   c    ", "\n\n\n"]
    wrong = [line for line in lines if fast.encode(line, add_special_tokens=False) != slow.encode(line)]
    check("tokenizer.json gives sentencepiece's tokens", not wrong, f"{len(lines) - len(wrong)} of {len(lines)} texts, {wrong[:2]}")
    lost = [line for line in lines if fast.decode(fast.encode(line, add_special_tokens=False)) != line]
    check("tokenizer.json gives the text back", not lost, f"{len(lines) - len(lost)} of {len(lines)} texts, {lost[:2]}")

    asked = fast(prompt, return_tensors="pt", return_token_type_ids=False)
    made = {cache: model.generate(**asked, max_new_tokens=10, do_sample=False, use_cache=cache, pad_token_id=0)[0].tolist() for cache in (True, False)}
    check("greedy generation with and without a cache", made[True] == made[False], made[True])
    text = fast.decode(made[True], skip_special_tokens=True)
    ours = open(generated_file, encoding="utf-8").read().rstrip("\n")
    check("greedy generation is ours", text == ours, repr(text) if text == ours else f"{text!r}, ours {ours!r}")

    both = model(**asked, use_cache=True)
    numbers = sum(t.numel() for layer in both.past_key_values.layers for t in (layer.keys, layer.values))
    per_token = numbers / asked["input_ids"].numel() / model.config.num_hidden_layers
    print(f"       cached numbers per token and layer: {per_token:g}")
    print(f"       transformers {transformers.__version__}, torch {torch.__version__}")
    return 1 if failed else 0


sys.exit(main(*sys.argv[1:]))
