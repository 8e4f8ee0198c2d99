# What vLLM's Transformers backend computes of an exported folder: PATH TOKEN,TOKEN,... OUT. OUT gets float32 (tokens, vocab), log-probabilities.
import array
import os
import sys

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # one busy core would hold all threads up
# The backend's own attention over a latent knows no model without a low rank for queries.
os.environ["VLLM_MLA_DISABLE"] = "1"

import vllm  # noqa: E402

CACHE_BYTES = 1 << 28  # for one prompt; without it vLLM takes most of the memory that there is
OF_MEMORY = 0.1


def main(path, tokens, out):
    prompt = [int(t) for t in tokens.split(",")]
    model = vllm.LLM(model=path, trust_remote_code=True, model_impl="transformers", dtype="float32", enforce_eager=True, max_num_seqs=1,
                     max_model_len=len(prompt) + 1, max_logprobs=-1, skip_tokenizer_init=True, kv_cache_memory_bytes=CACHE_BYTES,
                     gpu_memory_utilization=OF_MEMORY)
    asked = vllm.SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=-1, logprobs=-1, detokenize=False)
    answer = model.generate([{"prompt_token_ids": prompt}], asked, use_tqdm=False)[0]
    # Of a prompt's first token there are none: nothing is before it.
    rows = [*answer.prompt_logprobs[1:], answer.outputs[0].logprobs[0]]
    with open(out, "wb") as file:
        for row in rows:
            array.array("f", [row[token].logprob for token in range(len(row))]).tofile(file)
    print("vllm", vllm.__version__, flush=True)
    os._exit(0)  # what it starts says more when it ends, and the last line has to be this


main(*sys.argv[1:4])
