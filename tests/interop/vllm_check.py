"""An exported folder in vLLM's Transformers backend: logits and greedy generation.

    vllm_check.py FOLDER TOKENS.npy LOGITS.npy GENERATED.txt PROMPT

TOKENS int32 (batch, sequence) and LOGITS float32 as `gta eval --tokens --logits-out` has them, GENERATED what `gta generate --temperature 0
--max-tokens 10` printed for PROMPT. Prints one line a check; exit code 1 where one does not hold.
"""
import os
import sys

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # one busy core would hold all threads up
os.environ["VLLM_MLA_DISABLE"] = "1"

import numpy as np  # noqa: E402
import vllm  # noqa: E402

TOLERANCE = 1e-4  # of the largest logit


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def main(folder, tokens_file, logits_file, generated_file, prompt):
    failed = 0

    def check(name, holds, seen):
        nonlocal failed
        failed += not holds
        print(f"{'holds' if holds else 'FAILS'}  {name}: {seen}")

    tokens, logits = np.load(tokens_file), np.load(logits_file)
    model = vllm.LLM(model=folder, trust_remote_code=True, model_impl="transformers", dtype="float32", enforce_eager=True, max_num_seqs=4,
                     max_logprobs=-1, kv_cache_memory_bytes=1 << 28, gpu_memory_utilization=0.1)
    everything = vllm.SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=-1, logprobs=-1)
    answers = model.generate([{"prompt_token_ids": row.tolist()} for row in tokens], everything, use_tqdm=False)
    rows = [[*answer.prompt_logprobs[1:], answer.outputs[0].logprobs[0]] for answer in answers]
    seen = np.array([[[position[token].logprob for token in range(len(position))] for position in row] for row in rows])
    error = np.abs(seen - log_softmax(logits)).max() / np.abs(logits).max()
    check("log-probabilities", error <= TOLERANCE, f"{error:.1e} of the largest logit, {np.abs(logits).max():.3g}")

    answer = model.generate([prompt], vllm.SamplingParams(temperature=0, max_tokens=10), use_tqdm=False)[0]
    text = prompt + answer.outputs[0].text
    # vLLM holds back the bytes of a character that is not whole, of which gta prints what stands for them.
    ours = open(generated_file, encoding="utf-8", errors="replace").read().rstrip("\n\ufffd")
    check("greedy generation is ours", text == ours, repr(text) if text == ours else f"{text!r}, ours {ours!r}")
    print(f"       vllm {vllm.__version__}", flush=True)
    os._exit(1 if failed else 0)  # what it starts does not always end by itself


main(*sys.argv[1:])
