"""Configuration of models with grouped-head attention (GVA, GHA) and grouped-head latent attention (GTA, arXiv 2506.17286)."""
from transformers import PretrainedConfig


class GtaConfig(PretrainedConfig):
    """
    num_attention_heads (attention maps), num_key_value_heads and head_dim describe the attention core as engines see it,
    keys and values brought to one number and one width. What the model itself has:

        key_heads, key_dim        rotated keys; the queries are as wide
        value_heads, value_dim    values, or the latent of GTA: with the keys all that a cache has to hold
        value_decoder, gate       of GTA: "direct+learned" or "direct"; "sigmoid", "silu" or "relu2". None: neither
        output_width              of what goes through o_proj
    """

    model_type = "gta"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(self, vocab_size=32000, hidden_size=768, intermediate_size=1920, num_hidden_layers=24, num_attention_heads=3,
                 num_key_value_heads=1, head_dim=128, attention_type="gta", output_width=768, key_heads=1, key_dim=64,
                 value_heads=1, value_dim=128, qkv_bias=True, value_decoder="direct+learned", gate="sigmoid",
                 max_position_embeddings=2048, initializer_range=0.02, rms_norm_eps=1e-6, rope_theta=10000.0, use_cache=True,
                 tie_word_embeddings=True, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.attention_type = attention_type
        self.output_width = output_width
        self.key_heads = key_heads
        self.key_dim = key_dim
        self.value_heads = value_heads
        self.value_dim = value_dim
        self.qkv_bias = qkv_bias
        self.value_decoder = value_decoder
        self.gate = gate
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.use_cache = use_cache
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
