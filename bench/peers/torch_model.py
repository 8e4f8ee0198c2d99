"""The causal language model of configs/models in plain PyTorch, with each of its attention variants, as one would write it there.

Parameters carry the names of our checkpoints. GTA, for one layer whose normalised input is x:

    q, k = rope(q_proj(x)), rope(k_proj(x))      c = v_proj(x), the latent values       z = g_proj(x)
    u = causal softmax(q k^T / sqrt(head_dim)) c                                        nq maps, d_l wide
    y = [u, ..., u] + u P            P = v_b_proj.weight, read as (nq, d_l, e d_l)      (no P with value_decoder: direct)
    out = o_proj(f(z) * y)           f: sigmoid, silu or relu^2

GVA and GHA: the m = heads / nq values of a group lie side by side, as one value of m d columns under one map; GVA has as many as maps, GHA's
maps share them. MLA, with k_r shared by all heads and the scale 1/sqrt(nope + rope):

    q = q_proj(x), per head (nope | rope)    [latent | k_r] = kv_a_proj_with_mqa(x)    k, v = kv_b_proj(rms_norm(latent)), per head (nope | dv)
    Q = [q_nope | rope(q_rope)]              K = [k | rope(k_r)]                       out = o_proj(causal softmax(Q K^T scale) v)

`core` is how the softmax is computed: "explicit" writes the scores out, as the published code does; "sdpa" calls
scaled_dot_product_attention, where keys or values of the narrower head are padded with zeros, since its fast kernels want one width.
"""
import torch
import torch.nn.functional as F
from torch import nn


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        wide = x.float() if x.dtype == torch.bfloat16 else x
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class Rope(nn.Module):
    """Rotates the pairs (j, j + d/2) of x (batch, heads, sequence, d) by position * theta^(-2j/d)."""

    def __init__(self, head_dim, positions, theta):
        super().__init__()
        half = torch.arange(head_dim // 2, dtype=torch.float64)
        angles = torch.outer(torch.arange(positions, dtype=torch.float64), theta ** (-2 * half / head_dim))
        both = torch.cat((angles, angles), -1)
        self.register_buffer("cos", both.cos().float(), persistent=False)
        self.register_buffer("sin", both.sin().float(), persistent=False)

    def forward(self, x):
        n = x.shape[-2]
        low, high = x.chunk(2, -1)
        return x * self.cos[:n].to(x.dtype) + torch.cat((-high, low), -1) * self.sin[:n].to(x.dtype)


def share(x, heads):
    """(batch, few, sequence, width) -> (batch, heads, sequence, width): consecutive heads read the same one."""
    return x.repeat_interleave(heads // x.shape[1], 1) if x.shape[1] != heads else x


def explicit_core(q, k, v, scale):
    n = q.shape[-2]
    scores = torch.matmul(q, share(k, q.shape[1]).transpose(-1, -2)) * scale
    later = torch.full((n, n), float("-inf"), dtype=scores.dtype, device=scores.device).triu(1)
    maps = torch.softmax(scores + later, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    return torch.matmul(maps, share(v, q.shape[1]))


def sdpa_core(q, k, v, scale):
    heads, width = q.shape[1], v.shape[-1]
    most = max(q.shape[-1], width)
    q, k, v = (F.pad(t, (0, most - t.shape[-1])) for t in (q, k, v))
    out = F.scaled_dot_product_attention(q, share(k, heads), share(v, heads), is_causal=True, scale=scale)
    return out[..., :width]


CORES = {"explicit": explicit_core, "sdpa": sdpa_core}
GATES = {"sigmoid": torch.sigmoid, "silu": F.silu, "relu2": lambda z: F.relu(z).square()}


class Attention(nn.Module):
    def __init__(self, model, core):
        super().__init__()
        a, hidden, heads, d = model["attention"], model["hidden_size"], model["heads"], model["head_dim"]
        self.kind, self.head_dim, self.core = a["type"], d, CORES[core]
        bias = a.get("qkv_bias", True)
        width = heads * d
        if self.kind == "gta":
            self.maps, keys, values, value_dim = a["query_heads"], a["key_heads"], a["latent_heads"], a["latent_dim"]
        elif self.kind in ("gva", "gha"):
            together = heads // a["query_heads"]
            self.maps, keys, value_dim = a["query_heads"], a["key_heads"], together * d
            values = (heads if self.kind == "gva" else a["value_heads"]) // together
        else:
            kv = {"mha": heads, "mqa": 1}.get(self.kind) or a["kv_heads"]
            self.maps, keys, values, value_dim = heads, kv, kv, d
        self.value_dim = value_dim
        self.q_proj = nn.Linear(hidden, self.maps * d, bias=bias)
        self.k_proj = nn.Linear(hidden, keys * d, bias=bias)
        self.v_proj = nn.Linear(hidden, values * value_dim, bias=bias)
        self.o_proj = nn.Linear(width, hidden, bias=False)
        if self.kind == "gta":
            self.g_proj = nn.Linear(hidden, width, bias=bias)
            self.gate = GATES[a.get("gate", "sigmoid")]
            self.copies = width // self.maps // value_dim
            self.v_b_proj = None
            if a.get("value_decoder", "direct+learned") == "direct+learned":
                self.v_b_proj = nn.Module()
                self.v_b_proj.weight = nn.Parameter(torch.empty(self.maps * value_dim, self.copies * value_dim))

    def decode(self, u, z):
        y = u.repeat(1, 1, 1, self.copies)
        if self.v_b_proj is not None:
            y = y + torch.matmul(u, self.v_b_proj.weight.view(self.maps, self.value_dim, -1))
        return self.gate(z) * y.transpose(1, 2).flatten(2)

    def forward(self, x, rope):
        batch, n, _ = x.shape
        heads = lambda t, width: t.view(batch, n, -1, width).transpose(1, 2)
        q, k = rope(heads(self.q_proj(x), self.head_dim)), rope(heads(self.k_proj(x), self.head_dim))
        u = self.core(q, k, heads(self.v_proj(x), self.value_dim), self.head_dim ** -0.5)
        out = self.decode(u, self.g_proj(x)) if self.kind == "gta" else u.transpose(1, 2).flatten(2)
        return self.o_proj(out)


class LatentAttention(nn.Module):
    """MLA."""

    def __init__(self, model, core):
        super().__init__()
        a, hidden, self.heads = model["attention"], model["hidden_size"], model["heads"]
        self.rank, self.nope, self.rope_dim, self.value_dim = a["kv_lora_rank"], a["nope_dim"], a["rope_dim"], a["value_dim"]
        self.core = CORES[core]
        self.q_proj = nn.Linear(hidden, self.heads * (self.nope + self.rope_dim), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(hidden, self.rank + self.rope_dim, bias=False)
        self.kv_a_layernorm = RmsNorm(self.rank, model.get("norm_eps", 1e-6))
        self.kv_b_proj = nn.Linear(self.rank, self.heads * (self.nope + self.value_dim), bias=False)
        self.o_proj = nn.Linear(self.heads * self.value_dim, hidden, bias=False)

    def forward(self, x, rope):
        batch, n, _ = x.shape
        heads = lambda t: t.view(batch, n, self.heads, -1).transpose(1, 2)
        q, q_rope = heads(self.q_proj(x)).split((self.nope, self.rope_dim), -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split((self.rank, self.rope_dim), -1)
        k, v = heads(self.kv_b_proj(self.kv_a_layernorm(latent))).split((self.nope, self.value_dim), -1)
        k_rope = rope(k_rope.unsqueeze(1)).expand(-1, self.heads, -1, -1)
        u = self.core(torch.cat((q, rope(q_rope)), -1), torch.cat((k, k_rope), -1), v, (self.nope + self.rope_dim) ** -0.5)
        return self.o_proj(u.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, model, core):
        super().__init__()
        hidden, eps = model["hidden_size"], model.get("norm_eps", 1e-6)
        self.input_layernorm = RmsNorm(hidden, eps)
        self.self_attn = (LatentAttention if model["attention"]["type"] == "mla" else Attention)(model, core)
        self.post_attention_layernorm = RmsNorm(hidden, eps)
        self.mlp = Mlp(hidden, model["intermediate_size"])

    def forward(self, x, rope):
        x = x + self.self_attn(self.input_layernorm(x), rope)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, model, core, positions):
        super().__init__()
        self.embed_tokens = nn.Embedding(model["vocab_size"], model["hidden_size"])
        self.layers = nn.ModuleList(Block(model, core) for _ in range(model["layers"]))
        self.norm = RmsNorm(model["hidden_size"], model.get("norm_eps", 1e-6))
        rotated = model["attention"]["rope_dim"] if model["attention"]["type"] == "mla" else model["head_dim"]
        self.rope = Rope(rotated, positions, model.get("rope_theta", 10000.0))

    def forward(self, tokens):
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.rope)
        return self.norm(x)


class CausalLm(nn.Module):
    """`model` is the mapping of configs/models; tokens (batch, sequence) -> logits (batch, sequence, vocab)."""

    def __init__(self, model, core, positions):
        super().__init__()
        known = ("mha", "mqa", "gqa", "mla", "gva", "gha", "gta")
        if model["attention"]["type"] not in known:
            raise SystemExit(f"torch_model: attention type {model['attention']['type']}: expected one of {', '.join(known)}")
        self.model = Decoder(model, core, positions)
        self.lm_head = nn.Linear(model["hidden_size"], model["vocab_size"], bias=False)
        if model.get("tie_embeddings", True):
            self.lm_head.weight = self.model.embed_tokens.weight
        deviation = model.get("initializer_range", 0.02)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=deviation)
            elif name.endswith(".bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens):
        return self.lm_head(self.model(tokens))

    def loss(self, tokens, labels):
        return F.cross_entropy(self(tokens).float().flatten(0, 1), labels.flatten())


def optimizer_groups(net, decay):
    """Weight decay on matrices only."""
    return [{"params": [p for p in net.parameters() if p.dim() == 2], "weight_decay": decay},
            {"params": [p for p in net.parameters() if p.dim() != 2], "weight_decay": 0.0}]
