# What transformers computes of an exported folder: PATH TOKEN,TOKEN,... OUT. OUT gets float32 (tokens, vocab), log-probabilities.
import sys

import torch
import transformers

path, tokens, out = sys.argv[1:4]
transformers.logging.set_verbosity_error()
model = transformers.AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True, dtype=torch.float32)
with torch.no_grad():
    logits = model(torch.tensor([[int(t) for t in tokens.split(",")]])).logits[0]
torch.log_softmax(logits.double(), -1).float().numpy().tofile(out)
print("transformers", transformers.__version__, "torch", torch.__version__)
