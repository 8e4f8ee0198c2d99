"""Models that transformers makes and saves itself, with random weights, for gta import.

    import_check.py make llama|llama-tied|llama-bias|qwen2|deepseek_v2 FOLDER     FOLDER, in it tokens.npy and logits.npy
    import_check.py compare FOLDER     logits.npy with ours.npy (gta eval --tokens FOLDER/tokens.npy --logits-out FOLDER/ours.npy)

Theta and eps are nobody's default: where one is lost the logits show it. Exit code 1 where they differ by more than
1e-4 of the largest.
"""
import sys

import numpy as np
import torch
import transformers
from transformers import (DeepseekV2Config, DeepseekV2ForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM)

TOLERANCE = 1e-4
SHAPE = dict(vocab_size=400, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, max_position_embeddings=64,
             initializer_range=0.2)  # large, so that every part matters
ROPE = {"rope_theta": 54321.0} if int(transformers.__version__.split(".")[0]) < 5 else {
    "rope_parameters": {"rope_type": "default", "rope_theta": 54321.0}}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, **ROPE, num_key_value_heads=2, head_dim=10, rms_norm_eps=3e-5)),
    "llama-tied": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, **ROPE, num_key_value_heads=1, rms_norm_eps=3e-5, tie_word_embeddings=True)),
    "llama-bias": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, **ROPE, rms_norm_eps=3e-5, attention_bias=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, **ROPE, num_key_value_heads=3, rms_norm_eps=3e-5)),
    # Its latent is normed with an eps of 1e-6 whatever the configuration says.
    "deepseek_v2": lambda: DeepseekV2ForCausalLM(DeepseekV2Config(
        **SHAPE, **ROPE, q_lora_rank=None, kv_lora_rank=20, qk_nope_head_dim=10, qk_rope_head_dim=6, v_head_dim=14,
        first_k_dense_replace=3, n_routed_experts=2, n_shared_experts=1, num_experts_per_tok=1, rms_norm_eps=1e-6)),
}


def make(name, folder):
    torch.manual_seed(7)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for key, value in model.named_parameters():  # biases are made as zeros, norms as ones
            if key.endswith("bias") and not key.endswith("o_proj.bias"):
                value.normal_(0, 0.5)
            elif "norm" in key:
                value.normal_(1, 0.3)
        tokens = torch.randint(0, SHAPE["vocab_size"], (2, 40))
        logits = model(tokens).logits.float().numpy()
    model.save_pretrained(folder, max_shard_size="100KB" if name == "qwen2" else "5GB")  # one of them in several files
    np.save(folder + "/tokens.npy", tokens.numpy().astype(np.int32))
    np.save(folder + "/logits.npy", logits)
    return 0


def compare(folder):
    theirs, ours = np.load(folder + "/logits.npy"), np.load(folder + "/ours.npy")
    error = np.abs(theirs - ours).max() / np.abs(theirs).max() if theirs.shape == ours.shape else np.inf
    print(f"{'holds' if error <= TOLERANCE else 'FAILS'}  {folder}: {error:.1e} of the largest logit ({np.abs(theirs).max():.3g}), "
          f"transformers {transformers.__version__}, torch {torch.__version__}")
    return 0 if error <= TOLERANCE else 1


transformers.logging.set_verbosity_error()
sys.exit({"make": make, "compare": compare}[sys.argv[1]](*sys.argv[2:]))
