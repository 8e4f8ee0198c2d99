"""An exported GGUF file in an unmodified llama.cpp (the package xllamacpp): logits, generation, the tokenizer, q8_0.

    llama_cpp_check.py MODEL.gguf TOKENS.npy LOGITS.npy TEXT.txt GENERATED.txt PROMPT TOKENIZER.model QUANTISED.gguf

TOKENS int32 (batch, sequence) and LOGITS float32 as `gta eval --tokens --logits-out` has them, of the float32 file MODEL; GENERATED
what `gta generate --temperature 0 --max-tokens 10` printed for PROMPT; QUANTISED the same model in q8_0. Prints one line a check; exit
code 1 where one does not hold. The package's server is asked, once with a float32 cache and without flash attention, once as it comes.
"""
import json
import os
import sys
import urllib.request

import gguf
import numpy as np
import sentencepiece
import xllamacpp

TOLERANCE = 1e-4  # of the largest logit
PERPLEXITY = 0.01  # that q8_0 may cost


def serve(path, exact):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 256
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.fit_params = False
    params.verbosity = 0
    if exact:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def complete(server, prompt, **options):
    answer = server.handle_completions({"prompt": prompt, "temperature": 0, **options})
    return (json.loads(answer) if isinstance(answer, str) else answer)["choices"][0]


def log_probabilities(server, tokens, vocab, printable):
    """(sequence, vocab) of one sequence, each position by a prompt of its own. The server leaves them out where what it picks has no
    text (the end, a byte of a character): so it is made to pick `printable`, which the probabilities it reports do not know of."""
    rows = np.full((len(tokens), vocab), -np.inf)
    for position in range(len(tokens)):
        answer = complete(server, [int(t) for t in tokens[:position + 1]], max_tokens=1, n_probs=vocab, logit_bias=[[printable, 1000]])
        for entry in answer["logprobs"]["content"][0]["top_logprobs"]:
            rows[position, entry["id"]] = entry["logprob"]
    return rows


def log_softmax(logits):
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def main(path, tokens_file, logits_file, text_file, generated_file, prompt, tokenizer_file, quantised):
    failed = 0

    def check(name, holds, seen):
        nonlocal failed
        failed += not holds
        print(f"{'holds' if holds else 'FAILS'}  {name}: {seen}")

    reader = gguf.GGUFReader(path)
    architecture = reader.get_field("general.architecture").contents()
    finite = all(np.isfinite(t.data).all() for t in reader.tensors)
    check("the gguf package reads it", finite, f"{architecture}, {len(reader.tensors)} tensors, {len(reader.fields)} keys")

    tokens, logits = np.load(tokens_file), np.load(logits_file)
    expected, largest, vocab = log_softmax(logits), np.abs(logits).max(), logits.shape[-1]
    slow = sentencepiece.SentencePieceProcessor(model_file=tokenizer_file)
    printable = next(i for i in range(slow.get_piece_size()) if slow.id_to_piece(i).isascii() and slow.id_to_piece(i).isalpha())
    exact = serve(path, exact=True)
    seen = np.stack([log_probabilities(exact, row, vocab, printable) for row in tokens])
    error = np.abs(seen - expected).max() / largest
    check("logits with a float32 cache", error <= TOLERANCE, f"{error:.1e} of the largest, {largest:.2f}")

    usual = serve(path, exact=False)
    text = prompt + complete(usual, prompt, max_tokens=10)["text"]
    ours = open(generated_file, encoding="utf-8").read().rstrip("\n")
    check("greedy generation as it comes is ours", text == ours, repr(text) if text == ours else f"{text!r}, ours {ours!r}")

    lines = open(text_file, encoding="utf-8").read().split("\n")
    lines += [" ", "  two  spaces ", "tabs\tand\r\n", "caf\u00e9 \U0001f600 \u4e2d", "a" * 100, " a  b   c    ", "\n\n\n"]
    wrong = []
    for line in lines:
        body = json.dumps({"content": line, "add_special": False}).encode()
        request = urllib.request.Request(usual.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
        theirs = json.load(urllib.request.urlopen(request))["tokens"]
        if theirs != slow.encode(line):
            wrong.append((line, theirs, slow.encode(line)))
    check("it makes sentencepiece's tokens", not wrong, f"{len(lines) - len(wrong)} of {len(lines)} texts, {wrong[:2]}")

    small = serve(quantised, exact=True)
    windows = np.array(slow.encode("\n".join(lines[:40]))[:96]).reshape(6, 16)

    def perplexity(server):
        rows = np.stack([log_probabilities(server, window[:-1], vocab, printable) for window in windows])
        return float(np.exp(-np.take_along_axis(rows, windows[:, 1:, None], axis=-1).mean()))

    whole, part = perplexity(exact), perplexity(small)
    check("q8_0's perplexity", abs(part / whole - 1) <= PERPLEXITY, f"{part:.4f}, of float32 {whole:.4f}")
    print(f"       xllamacpp {xllamacpp.__version__}")
    return 1 if failed else 0


code = main(*sys.argv[1:])
sys.stdout.flush()
os._exit(code)  # the server's threads do not end by themselves
