#!/usr/bin/env python3
"""gta export and gta import beside the code that GTA's authors published.

    published_gta_check.py CODE TEXT RUN... [--gta build/release/bin/gta]

CODE is the folder `gta` of a checkout of github.com/plm-team/GTA, with configuration_gta.py and gta_modeling.py, which were written for
transformers 4.46.1; TEXT a file shorter than the models' context; each RUN of GTA with sigmoid, direct+learned and biases.

Of each RUN the exported weights are loaded into their GTAForCausalLM by name, all of them and no others, and its logits compared. Then a
model of theirs of the same sizes, with random weights, is saved by save_pretrained, imported by `gta import`, and its logits and its loss
of TEXT compared. Prints one line a check; exit code 1 where one does not hold."""
import argparse
import builtins
import importlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import sentencepiece
import torch
import transformers
from safetensors.torch import load_file

TOLERANCE = 1e-4  # of the largest logit
LOSS_TOLERANCE = 1e-5  # of the loss
# Their keys by those of an exported folder.
NAMES = {"num_query_heads": "num_attention_heads", "query_dim": "key_dim", "num_key_heads": "key_heads", "key_dim": "key_dim",
         "num_value_heads": "value_heads", "value_dim": "value_dim", "head_dim": "key_dim"}
SAME = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings", "rms_norm_eps", "rope_theta",
        "tie_word_embeddings"]


def published(code):
    """Their module, as part of the package that their folder is. A docstring in it names a constant that it has not: an empty one does."""
    builtins._CHECKPOINT_FOR_DOC = ""
    parent, package = os.path.split(os.path.abspath(code))
    sys.path.insert(0, parent)
    return importlib.import_module(f"{package}.gta_modeling")


def config_of(theirs, folder):
    ours = json.load(open(folder + "/config.json"))
    config = theirs.GTAConfig(**{key: ours[name] for key, name in NAMES.items()}, **{key: ours[key] for key in SAME},
                              num_attention_heads=ours["output_width"] // ours["key_dim"], architectures=["GTAForCausalLM"])
    config._attn_implementation = "eager"
    return config


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.as_tensor(tokens).long(), use_cache=False).logits.float().numpy()


def randomize(model):
    """Large enough that every part matters: what a new model has of biases is zeros, of norms ones."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.normal_(1 if "norm" in name else 0, 0.3 if value.dim() == 1 else 0.1)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("code")
    arguments.add_argument("text")
    arguments.add_argument("runs", nargs="+")
    arguments.add_argument("--gta", default="build/release/bin/gta")
    given = arguments.parse_args()
    transformers.logging.set_verbosity_error()
    theirs = published(given.code)
    failed = 0

    def check(name, holds, seen):
        nonlocal failed
        failed += not holds
        print(f"{'holds' if holds else 'FAILS'}  {name}: {seen}", flush=True)

    def gta(*words):
        done = subprocess.run([given.gta, *words], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"gta {' '.join(words)}\n{done.stderr}")
        return done.stdout

    def compare(name, model, checkpoint, tokens, folder):
        """Tokens of the whole vocabulary, as gta eval and the model see them."""
        np.save(folder + "/tokens.npy", tokens)
        gta("eval", checkpoint, "--device", "cpu", "--tokens", folder + "/tokens.npy", "--logits-out", folder + "/logits.npy")
        ours, seen = np.load(folder + "/logits.npy"), logits_of(model, tokens)
        error = np.abs(ours - seen).max() / np.abs(ours).max()
        check(name, error <= TOLERANCE, f"{error:.1e} of the largest, {np.abs(ours).max():.3g}")

    for run in given.runs:
        with tempfile.TemporaryDirectory() as folder:
            exported, saved, imported = (os.path.join(folder, name) for name in ("exported", "saved", "imported"))
            gta("export", run, "--out", exported)
            config = config_of(theirs, exported)
            length = min(64, config.max_position_embeddings)
            tokens = np.random.default_rng(1).integers(0, config.vocab_size, (2, length)).astype(np.int32)

            model = theirs.GTAForCausalLM(config).eval()
            weights = load_file(exported + "/model.safetensors")
            # A tied head is one tensor under two names.
            tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
            left = model.load_state_dict(weights, strict=False)
            odd = [*left.unexpected_keys, *(set(left.missing_keys) - tied)]
            name = f"{run}, {'tied' if tied else 'untied'}"
            check(f"{name}: every exported weight has its place in {type(model).__name__}", not odd, odd or f"{len(weights)} tensors")
            compare(f"{name}: logits of {type(model).__name__} with the exported weights", model, run, tokens, folder)

            randomize(model)
            model.save_pretrained(saved)
            tokenizer = exported + "/tokenizer.model"
            gta("import", saved, "--tokenizer", tokenizer, "--out", imported)
            compare(f"{name}: logits of a model that it saved, imported", model, imported, tokens, folder)

            pieces = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
            ids = [pieces.bos_id(), *pieces.encode(open(given.text, encoding="utf-8").read()), pieces.eos_id()]
            log_p = torch.log_softmax(torch.from_numpy(logits_of(model, [ids[:-1]])[0]).double(), -1)
            loss = -log_p[range(len(ids) - 1), ids[1:]].mean().item()
            ours = json.loads(gta("eval", imported, "--device", "cpu", "--text", given.text, "--window", str(len(ids) - 1), "--json"))
            same = abs(ours["loss"] / loss - 1) <= LOSS_TOLERANCE and ours["tokens"] == len(ids) - 1
            check(f"{name}: its loss of {given.text}", same, f"{ours['loss']:.6f} and {loss:.6f} over {ours['tokens']} tokens")
    print(f"       transformers {transformers.__version__}, torch {torch.__version__}")
    sys.exit(1 if failed else 0)


main()
