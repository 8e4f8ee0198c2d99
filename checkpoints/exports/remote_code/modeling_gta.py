"""Models with grouped-head attention (GVA, GHA) and grouped-head latent attention (GTA, arXiv 2506.17286).

One layer, x its normalised input, head g of n_q:

    Q = rope(x W_Q + b)    n_q maps        K = rope(x W_K + b)    key_heads        C = x W_V + b    value_heads
    U_g = softmax(key_dim^-1/2 Q_g K^T) C                 keys and values are shared by the maps next to each other
    Y_g = [U_g, ..., U_g] + U_g P_g                       GTA's value decoder; P is missing where it is "direct"
    O   = gate(x W_G + b) * Y, then O W_O                 GVA and GHA: O = U

A cache holds K and C as they are: key_heads x key_dim and value_heads x value_dim numbers a token.
"""
import inspect
import math
from typing import Callable, Optional, Union

import torch
from torch import nn
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_gta import GtaConfig

GATES = {"sigmoid": torch.sigmoid, "silu": nn.functional.silu, "relu2": lambda z: torch.relu(z).square()}
# Called input_embeds until transformers 5.
EMBEDS = "inputs_embeds" if "inputs_embeds" in inspect.signature(create_causal_mask).parameters else "input_embeds"


class GtaRMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def rotate(x, cos, sin):
    """Pairs (j, j + width / 2) of the last dimension."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, :, : key.shape[-2]]
    maps = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    maps = nn.functional.dropout(maps, p=dropout, training=module.training)
    return torch.matmul(maps, value).transpose(1, 2).contiguous(), maps


class GtaValueDecoder(nn.Module):
    """P, as published checkpoints have it: the memory of (n_q, value_dim, e value_dim) under another shape."""

    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.output_width // config.num_attention_heads,
                                               config.num_attention_heads * config.value_dim))


class GtaAttention(nn.Module):
    def __init__(self, config: GtaConfig, layer_idx: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.maps = config.num_attention_heads
        self.key_heads, self.key_dim = config.key_heads, config.key_dim
        self.value_heads, self.value_dim = config.value_heads, config.value_dim
        self.head_dim = config.head_dim
        self.num_key_value_groups = self.maps // config.num_key_value_heads
        self.scaling = self.key_dim**-0.5
        self.is_causal = True
        bias = config.qkv_bias
        self.q_proj = nn.Linear(config.hidden_size, self.maps * self.key_dim, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, self.key_heads * self.key_dim, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, self.value_heads * self.value_dim, bias=bias)
        if config.gate is not None:
            self.g_proj = nn.Linear(config.hidden_size, config.output_width, bias=bias)
        if config.value_decoder == "direct+learned":
            self.v_b_proj = GtaValueDecoder(config)
        self.o_proj = nn.Linear(config.output_width, config.hidden_size, bias=False)

    def spread(self, x, heads):
        """To the heads and the width of the core."""
        x = x.repeat_interleave(self.config.num_key_value_heads // heads, dim=1) if heads else x
        return nn.functional.pad(x, (0, self.head_dim - x.shape[-1]))

    def forward(self, hidden_states, position_embeddings, attention_mask=None, past_key_values: Optional[Cache] = None,
                cache_position=None, **kwargs):
        batch, length = hidden_states.shape[:-1]
        heads = lambda x, count: x.view(batch, length, count, -1).transpose(1, 2)
        cos, sin = position_embeddings
        query = rotate(heads(self.q_proj(hidden_states), self.maps), cos, sin)
        key = rotate(heads(self.k_proj(hidden_states), self.key_heads), cos, sin)
        value = heads(self.v_proj(hidden_states), self.value_heads)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx, {"cache_position": cache_position})
        query, key, value = self.spread(query, 0), self.spread(key, self.key_heads), self.spread(value, self.value_heads)

        attention_interface: Callable = eager_attention_forward
        if self.config._attn_implementation != "eager":
            attention_interface = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        u, maps = attention_interface(self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs)

        u = u.reshape(batch, length, self.maps, self.head_dim)[..., : self.value_dim]
        return self.o_proj(self.decode(u, hidden_states)), maps

    def decode(self, u, x):
        batch, length = u.shape[:2]
        if self.config.gate is None:
            return u.reshape(batch, length, -1)
        copies = self.config.output_width // (self.maps * self.value_dim)
        y = u.repeat(1, 1, 1, copies)
        if self.config.value_decoder == "direct+learned":
            weight = self.v_b_proj.weight.view(self.maps, self.value_dim, copies * self.value_dim)
            y = y + torch.einsum("btgl,glw->btgw", u, weight)
        return GATES[self.config.gate](self.g_proj(x)) * y.reshape(batch, length, -1)


class GtaMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class GtaDecoderLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.self_attn = GtaAttention(config, layer_idx)
        self.mlp = GtaMLP(config)
        self.input_layernorm = GtaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = GtaRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, **kwargs):
        attended, maps = self.self_attn(self.input_layernorm(x), **kwargs)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), maps


class GtaPreTrainedModel(PreTrainedModel):
    config_class = GtaConfig
    base_model_prefix = "model"
    _no_split_modules = ["GtaDecoderLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module):
        std = self.config.initializer_range
        if isinstance(module, (nn.Linear, nn.Embedding, GtaValueDecoder)):
            module.weight.data.normal_(mean=0.0, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.data.zero_()
        if isinstance(module, GtaRMSNorm):
            module.weight.data.fill_(1.0)


class GtaModel(GtaPreTrainedModel):
    def __init__(self, config: GtaConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([GtaDecoderLayer(config, index) for index in range(config.num_hidden_layers)])
        self.norm = GtaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, value):
        self.embed_tokens = value

    def position_embeddings(self, position_ids, dtype):
        """cos and sin (batch, 1, length, key_dim), computed in float32."""
        width = self.config.key_dim
        exponents = torch.arange(0, width, 2, dtype=torch.float32, device=position_ids.device) / width
        frequencies = torch.exp(-exponents * math.log(self.config.rope_theta))
        angles = position_ids[:, None, :, None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values: Optional[Cache] = None,
                inputs_embeds=None, use_cache=None, cache_position=None, output_attentions=None, output_hidden_states=None,
                return_dict=None, **kwargs):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected either input_ids or inputs_embeds")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        if cache_position is None:
            seen = 0 if past_key_values is None else past_key_values.get_seq_length()
            cache_position = torch.arange(seen, seen + x.shape[1], device=x.device)
        if position_ids is None:
            position_ids = cache_position.unsqueeze(0)
        mask = create_causal_mask(**dict_for(create_causal_mask, config=self.config, attention_mask=attention_mask,
                                             cache_position=cache_position, past_key_values=past_key_values,
                                             position_ids=position_ids, **{EMBEDS: x}))
        positions = self.position_embeddings(position_ids, x.dtype)
        hidden, maps = [], []
        for layer in self.layers:
            hidden.append(x)
            x, seen_maps = layer(x, position_embeddings=positions, attention_mask=mask, past_key_values=past_key_values,
                                 cache_position=cache_position, **kwargs)
            maps.append(seen_maps)
        x = self.norm(x)
        hidden.append(x)
        return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=past_key_values if use_cache else None,
                                       hidden_states=tuple(hidden) if output_hidden_states else None,
                                       attentions=tuple(maps) if output_attentions else None)


def dict_for(function, **arguments):
    """Those that this version of a function takes."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}


class GtaForCausalLM(GtaPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: GtaConfig):
        super().__init__(config)
        self.model = GtaModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values: Optional[Cache] = None,
                inputs_embeds=None, labels=None, use_cache=None, cache_position=None,
                logits_to_keep: Union[int, torch.Tensor] = 0, **kwargs):
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
                             past_key_values=past_key_values, inputs_embeds=inputs_embeds, use_cache=use_cache,
                             cache_position=cache_position, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept, :])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values,
                                      hidden_states=outputs.hidden_states, attentions=outputs.attentions)
