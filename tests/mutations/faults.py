"""The faults: what is right in one file, and what is wrong instead where mutant() says so."""
from collections import namedtuple

Fault = namedtuple("Fault", "name file right wrong dtypes", defaults=[("float64", "float32", "bfloat16")])

ATTENTION = "layers/attention/shared_map_attention/shared_map_attention_cpu.cpp"
DECODER = "layers/attention/value_decoder/value_decoder.cpp"
DECODER_KERNEL = "layers/attention/value_decoder/value_decoder_cpu.cpp"
MLA = "layers/attention/multi_head_latent.cpp"
LINEAR = "layers/linear/linear.cpp"
NORM = "layers/rms_norm/rms_norm_cpu.cpp"
ROPE = "layers/rope/rope_cpu.cpp"
SWIGLU = "layers/swiglu/swiglu_cpu.cpp"
LOSS = "layers/cross_entropy/linear_cross_entropy_cpu.cpp"
ADAMW = "optim/adamw_cpu.cpp"


def times(factor, T="T"):
    return f" * (mutant<{T}>() ? {T}({factor}) : {T}(1))"


FAULTS = [
    # the core
    Fault("scores_times_1.02", ATTENTION,
          "static_cast<T>(a.shape.scale);", "static_cast<T>(a.shape.scale)" + times(1.02) + ";"),
    Fault("score_gradient_times_1.02", ATTENTION,
          "d[c] = p[c] * (d[c] - delta) * scale;", "d[c] = p[c] * (d[c] - delta) * scale" + times(1.02) + ";"),
    Fault("sign_of_delta", ATTENTION, "(d[c] - delta)", "(mutant<T>() ? d[c] + delta : d[c] - delta)"),
    Fault("delta_missing", ATTENTION, "(d[c] - delta)", "(mutant<T>() ? d[c] : d[c] - delta)"),
    Fault("own_token_hidden", ATTENTION,
          "offset + row + r + 1 - begin; }",
          "offset + row + r + 1 - begin - (mutant<T>() && row + r + offset > 0); }"),
    Fault("maps_read_the_wrong_key", ATTENTION,
          "map / (s.query_heads / s.key_heads) * s.head_dim",
          "(mutant<T>() ? map % s.key_heads : map / (s.query_heads / s.key_heads)) * s.head_dim"),
    Fault("maps_read_the_wrong_value", ATTENTION,
          "map / (s.query_heads / s.value_heads) * s.value_dim",
          "(mutant<T>() ? map % s.value_heads : map / (s.query_heads / s.value_heads)) * s.value_dim"),
    Fault("a_shared_head_misses_a_map", ATTENTION,
          "map < (head + 1) * sharing; ++map", "map < (head + 1) * sharing - (mutant<T>() && sharing > 1); ++map"),
    Fault("key_and_value_gradients_times_1.02", ATTENTION, "to[c] += from[c];", "to[c] += from[c]" + times(1.02) + ";"),
    # the value decoder
    Fault("p_transposed", DECODER,
          ".c = y.column_slice(g * width",
          ".transpose_b = mutant(u.dtype()) && width == latent_dim ? Transpose::Yes : Transpose::No, "
          ".c = y.column_slice(g * width"),
    Fault("direct_part_missing", DECODER_KERNEL,
          "(from[c] + out[c])", "(mutant<T>() ? C{out[c]} : C{from[c]} + C{out[c]})"),
    Fault("slope_of_the_sigmoid_gate", DECODER_KERNEL,
          "return s * (T{1} - s);", "return mutant<T>() ? s : s * (T{1} - s);"),
    Fault("slope_of_the_silu_gate", DECODER_KERNEL,
          "return s * (T{1} + z * (T{1} - s));", "return mutant<T>() ? s : s * (T{1} + z * (T{1} - s));"),
    Fault("a_copy_of_the_latent_without_gradient", DECODER_KERNEL,
          "sum[c] += d_y;", "sum[c] += mutant<T>() && piece > map * copies ? C{0} : d_y;"),
    # the other ops
    Fault("bias_missing", LINEAR, ".bias = bias}", ".bias = mutant(x.dtype()) ? Tensor{} : bias}"),
    Fault("bias_gradient_missing", LINEAR,
          "if (d_inputs[2].wanted())", "if (d_inputs[2].wanted() && !mutant(x.dtype()))"),
    # An eps of 1e-6 is far below what bfloat16 shows.
    Fault("eps_of_the_norm_missing", NORM,
          "+ static_cast<C>(eps)", "+ (mutant<T>() ? C{0} : static_cast<C>(eps))", ("float64", "float32")),
    Fault("mean_missing_in_the_norms_gradient", NORM,
          "const C mean = dot", "const C mean = (mutant<T>() ? C{0} : dot)"),
    Fault("norm_weight_gradient_times_1.02", NORM,
          "sum[c] += dy[c] * in[c] * scale;", "sum[c] += dy[c] * in[c] * scale * (mutant<T>() ? C(1.02) : C(1));"),
    Fault("sign_of_the_rotation_back", ROPE, "C{1} : C{-1};", "C{1} : mutant<T>() ? C{1} : C{-1};"),
    Fault("decoded_tokens_at_the_wrong_position", ROPE,
          "given ? given[t] : t", "given && !mutant<T>() ? given[t] : t"),
    Fault("gate_and_up_exchanged", SWIGLU,
          "const T* const z = gate_up.template data<T>() + t * gate_up.pitch();\n"
          "        const T* const u = z + width;\n        T* const out",
          "const T* z = gate_up.template data<T>() + t * gate_up.pitch();\n"
          "        const T* u = z + width;\n        if (mutant<T>()) std::swap(z, u);\n        T* const out"),
    Fault("loss_gradient_times_1.02", LOSS, "store(d_z[v], z[v] * scale);\n          store(d_z[label], at_label);",
          "store(d_z[v], z[v] * scale * (mutant<T>() ? C(1.02) : C(1)));\n"
          "          store(d_z[label], at_label * (mutant<T>() ? C(1.02) : C(1)));"),
    Fault("loss_gradient_times_1.05", LOSS, "store(d_z[v], z[v] * scale);\n          store(d_z[label], at_label);",
          "store(d_z[v], z[v] * scale * (mutant<T>() ? C(1.05) : C(1)));\n"
          "          store(d_z[label], at_label * (mutant<T>() ? C(1.05) : C(1)));"),
    Fault("a_token_seen_twice_counts_once", "layers/embedding/embedding_cpu.cpp",
          "for (int64_t i = starts[s]; i < starts[s + 1]; ++i)",
          "for (int64_t i = starts[s]; i < (mutant<T>() ? starts[s] + 1 : starts[s + 1]); ++i)"),
    # multi-head latent attention
    Fault("mla_scaled_by_the_wrong_width", MLA,
          "value_dim_, scale_}, q,",
          "value_dim_, mutant(x.dtype()) ? 1 / std::sqrt(static_cast<double>(nope_dim_)) : scale_}, q,"),
    Fault("mla_decodes_values_with_the_rows_of_keys", MLA,
          "h * head_rows + nope_dim_, value_dim_",
          "h * head_rows + (mutant(q.dtype()) && nope_dim_ == value_dim_ ? 0 : nope_dim_), value_dim_"),
    Fault("mla_shared_key_misses_a_head", "layers/attention/latent_heads/latent_heads_cpu.cpp",
          "for (int64_t h = 0; h < s.heads; ++h) sum", "for (int64_t h = mutant<T>(); h < s.heads; ++h) sum"),
    # the optimizer
    Fault("learning_rate_times_1.02", ADAMW,
          "static_cast<T>(planned(UpdateState::Rate))", "static_cast<T>(planned(UpdateState::Rate))" + times(1.02)),
    Fault("gradients_not_clipped", ADAMW,
          "static_cast<T>(planned(UpdateState::Scale))",
          "(mutant<T>() ? T{1} : static_cast<T>(planned(UpdateState::Scale)))"),
    Fault("second_moment_not_corrected", ADAMW,
          "static_cast<T>(planned(UpdateState::Root))",
          "(mutant<T>() ? T{1} : static_cast<T>(planned(UpdateState::Root)))"),
    Fault("vectors_decay_too", "optim/adamw.cpp",
          "updated.kind == ParameterKind::Matrix ? config_.weight_decay",
          "updated.kind == ParameterKind::Matrix || mutant(space_.masters().tensor(i).dtype()) ? config_.weight_decay"),
    Fault("rounded_weights_left_behind", ADAMW, "if (r) {", "if (r && !mutant<bfloat16>()) {", ("bfloat16",)),
]
