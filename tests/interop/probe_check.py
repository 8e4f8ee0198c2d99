"""What a training says of its attention against what transformers computes from the exported weights.

    probe_check.py GTA [FOLDER]        a Python with torch, transformers, sentencepiece; FOLDER: for what it makes, a temporary one if none is named

Trains small models on a text of one window, so that it is known what every step sees, exports the weights before the last step and compares
map_entropy, map_similarity, key_rank, value_rank and MLA's latent_rank of that step's diagnosis with float64 of eager attention: maps as
output_attentions gives them, keys and values from the cache. Then the loss by position of `gta eval` with the model's own losses. Exit code 1 where
a number differs.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from transformers import AutoModelForCausalLM

gta = Path(sys.argv[1]).resolve()
folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="gta-probe-")).resolve()
TOLERANCE = 1e-5  # queries and keys are float32 there
wrong = compared = 0

VARIANTS = {"mha": "{type: mha}", "gqa": "{type: gqa, kv_heads: 2}", "mqa": "{type: mqa}",
            "mla": "{type: mla, kv_lora_rank: 24, nope_dim: 16, rope_dim: 8, value_dim: 16}"}


def run(*command):
    done = subprocess.run([str(gta), *map(str, command)], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command}: {done.stderr}")
    return done.stdout


def expect(what, ours, theirs, tolerance=TOLERANCE):
    global wrong, compared
    compared += 1
    if not abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)):
        wrong += 1
        print(f"{what}: {ours!r}, transformers {theirs!r}")


def effective_rank(x):
    s = np.linalg.svd(x, compute_uv=False)
    p = s[s > 1e-12 * s[0]] / s.sum()
    return np.exp(-(p * np.log(p)).sum())


def side_by_side(heads):  # (1, heads, tokens, dim) -> (tokens, heads * dim)
    return heads[0].permute(1, 0, 2).reshape(heads.shape[2], -1).numpy()


def of_maps(maps):  # (heads, queries, keys)
    p = maps[0].numpy()
    entropy = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1).mean()
    unit = p / np.linalg.norm(p, axis=-1, keepdims=True)
    heads = len(p)
    cosines = [(unit[g] * unit[h]).sum(-1).mean() for g in range(heads) for h in range(g + 1, heads)]
    return entropy, np.mean(cosines)


def check(variant, attention, ids, sequence):
    (folder / "run.yaml").write_text(f"""name: {variant}
model:
  hidden_size: 64
  layers: 2
  intermediate_size: 96
  heads: 4
  head_dim: 16
  initializer_range: 0.2
  attention: {attention}
data: {{tokenizer: t.model, train: [shards/train-00000.h5], validation: [shards/train-00000.h5], sequence_length: {sequence}}}
optimizer: {{learning_rate: 1.0e-2, schedule: {{type: constant, warmup_steps: 0}}}}
train: {{steps: 4, global_batch_size: 1, micro_batch_size: 1, diagnose_every_steps: 4, checkpoint: {{every_steps: 3, keep: 10}}}}
""")
    run("train", "run.yaml", "--run-dir", f"runs/{variant}", "--device", "cpu")
    rows = [json.loads(line) for line in (folder / f"runs/{variant}/metrics.jsonl").read_text().splitlines()]
    ours = next(row for row in rows if row["kind"] == "diagnosis")
    checkpoint = f"runs/{variant}/checkpoints/step-00000003"
    run("export", checkpoint, "--out", f"hf-{variant}")
    model = AutoModelForCausalLM.from_pretrained(folder / f"hf-{variant}", dtype=torch.float64, attn_implementation="eager")
    latents = []
    if variant == "mla":
        for layer in model.model.layers:
            layer.self_attn.kv_a_layernorm.register_forward_hook(lambda module, inputs, output: latents.append(output[0].detach()))
    with torch.no_grad():
        out = model(torch.tensor([ids[:sequence]]), output_attentions=True, use_cache=True)
        logits = out.logits[0].log_softmax(-1)
    for i in range(2):
        entropy, similarity = of_maps(out.attentions[i])
        expect(f"{variant}: map_entropy/layers.{i}", ours[f"map_entropy/layers.{i}"], entropy)
        expect(f"{variant}: map_similarity/layers.{i}", ours[f"map_similarity/layers.{i}"], similarity)
        keys, values = out.past_key_values[i][:2]
        expect(f"{variant}: key_rank/layers.{i}", ours[f"key_rank/layers.{i}"], effective_rank(side_by_side(keys)))
        expect(f"{variant}: value_rank/layers.{i}", ours[f"value_rank/layers.{i}"], effective_rank(side_by_side(values)))
        if latents:
            expect(f"{variant}: latent_rank/layers.{i}", ours[f"latent_rank/layers.{i}"], effective_rank(latents[i].numpy()))
    losses = -logits[torch.arange(sequence), torch.tensor(ids[1:sequence + 1])].numpy()
    said = json.loads(run("eval", checkpoint, "--data", "shards/train-00000.h5", "--by-position", "--json", "--device", "cpu"))
    first, last = 1, 1
    for bucket in said["by_position"]:
        if not bucket["name"].startswith("loss/position/"):
            continue
        expect(f"{variant}: {bucket['name']}", bucket["loss"], losses[first - 1:last].mean())
        first, last = last + 1, 2 * last


text = " ".join(f"{a} {b} the {c}" for a in ("small", "old", "red") for b in ("cat", "dog", "bird", "fish") for c in ("sees", "is", "has"))
(folder / "text.txt").write_text(text)
(folder / "words.txt").write_text("\n".join([text] * 20))
run("data", "tokenizer", "--input", "words.txt", "--vocab-size", "300", "--out", "t.model")
run("data", "shards", "--tokenizer", "t.model", "--input", "text.txt", "--out", "shards", "--name", "train")
pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "t.model"))
ids = [pieces.bos_id()] * (pieces.bos_id() >= 0) + pieces.encode(text) + [pieces.eos_id()] * (pieces.eos_id() >= 0)
for variant, attention in VARIANTS.items():
    check(variant, attention, ids, len(ids) - 1)
print(f"{compared} numbers of windows of {len(ids) - 1} tokens, {wrong} differ")
sys.exit(1 if wrong else 0)
