# What llama.cpp (the package xllamacpp) computes of a GGUF file: PATH TOKEN,TOKEN,... OUT. OUT gets float32 (tokens, vocab), log-probabilities.
import json
import os
import struct
import sys

import xllamacpp

path, tokens, out = sys.argv[1:4]
tokens = [int(t) for t in tokens.split(",")]
params = xllamacpp.CommonParams()
params.model.path = path
params.n_ctx = max(64, 2 * len(tokens))
params.n_parallel = 1
params.n_gpu_layers = 0
params.warmup = params.fit_params = False
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(params)


def probabilities(prompt, pick):
    # The server leaves them out where what it picks has no text: it is made to pick one that has, of which these do not know.
    bias = [] if pick is None else [[pick, 1000]]
    answer = server.handle_completions({"prompt": prompt, "max_tokens": 1, "temperature": 0, "n_probs": 1 << 20, "logit_bias": bias})
    answer = json.loads(answer) if isinstance(answer, str) else answer
    logprobs = answer["choices"][0]["logprobs"]
    return logprobs["content"][0]["top_logprobs"] if logprobs else None


def main():
    first = next((found for pick in [None, *range(3, 1000)] if (found := probabilities(tokens[:1], pick))), None)
    printable = next(entry["id"] for entry in first if entry["token"].isascii() and entry["token"].strip().isalnum())
    vocab = 1 + max(entry["id"] for entry in first)
    with open(out, "wb") as file:
        for position in range(len(tokens)):
            row = [float("-inf")] * vocab
            for entry in probabilities(tokens[: position + 1], printable):
                row[entry["id"]] = entry["logprob"]
            file.write(struct.pack(f"{vocab}f", *row))
    print("xllamacpp", xllamacpp.__version__)


code = 0
try:
    main()
except Exception as error:  # its last line has to be the reason, not what the server says when it ends
    code = 1
    print(f"{type(error).__name__}: {error}")
sys.stdout.flush()
os._exit(code)  # the server's threads do not end by themselves
