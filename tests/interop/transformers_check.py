"""An exported folder in transformers: logits, gradients, generation with and without a cache, the tokenizer, and the way engines call it.

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
from transformers import AttentionInterface, AutoModel, AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-4  # of the largest logit
GRADIENT_TOLERANCE = 1e-3  # of a tensor's largest gradient


def engine_attention(module, query, key, value, attention_mask, scaling=None, sequences=None, **kwargs):
    """The attention function of an engine, as vLLM's Transformers backend registers one: it has the masks and the cache itself, takes
    (1, heads, tokens, width) of all sequences behind each other, gives (tokens, heads * width), and plans with three keys of config.json."""
    config = module.config
    planned = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
    assert attention_mask is None and module.is_causal and isinstance(module.layer_idx, int)
    assert (query.shape[1], key.shape[1], value.shape[1]) == planned, "heads are those of the configuration"
    if config.model_type == "gta":  # DeepseekV2's values have a width of their own, for which an engine pads
        assert {t.shape[-1] for t in (query, key, value)} == {config.head_dim}, "widths are that of the configuration"
    seen = (sequences[:, None] == sequences[None, :]).tril()
    groups = query.shape[1] // key.shape[1]
    scores = query[0] @ key[0].repeat_interleave(groups, 0).transpose(1, 2) * scaling
    maps = torch.softmax(scores.masked_fill(~seen, float("-inf")), -1)
    return (maps @ value[0].repeat_interleave(groups, 0)).transpose(0, 1).flatten(1), None


def engine_logits(folder, tokens, head):
    """Of (batch, sequence) tokens, called as one batch of all of them, by tokens and by their embeddings."""
    AttentionInterface.register("engine", engine_attention)
    model = AutoModel.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32, attn_implementation="engine")
    batch, length = tokens.shape
    flat = torch.from_numpy(tokens).long().reshape(1, -1)
    common = dict(position_ids=torch.arange(length).repeat(batch)[None], use_cache=False, return_dict=False,
                  sequences=torch.arange(batch).repeat_interleave(length))
    with torch.no_grad():
        hidden = [model(**given, **common)[0][0] for given in ({"input_ids": flat}, {"inputs_embeds": model.get_input_embeddings()(flat)})]
        return [head(h).reshape(batch, length, -1).numpy() for h in hidden]


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

    error = max(np.abs(logits - expected).max() for logits in engine_logits(folder, tokens, model.lm_head)) / np.abs(expected).max()
    check("logits as an engine calls it", error <= TOLERANCE, f"{error:.1e} of the largest")

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
