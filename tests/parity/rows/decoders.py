"""Rows of the decoders."""

from typing import Any

from support import Row

LLAMA: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "rms_norm_eps": 0.1,
    "max_position_embeddings": 64,
    "pad_token_id": 3,
}
GPT2: dict[str, Any] = {
    "vocab_size": 99,
    "n_embd": 36,
    "n_layer": 3,
    "n_head": 6,
    "n_positions": 64,
    "layer_norm_epsilon": 0.1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}
GPT_BIGCODE: dict[str, Any] = GPT2
GPT_NEOX: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "layer_norm_eps": 0.1,
    "max_position_embeddings": 64,
    "pad_token_id": 3,
    "rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.7},
}
OPT: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 36,
    "ffn_dim": 50,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
    "pad_token_id": 3,
}
BLOOM: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 36,
    "n_layer": 3,
    "n_head": 6,  # no power of two
    "layer_norm_epsilon": 0.1,
    "pad_token_id": 3,
}
OPT_350M = {"word_embed_proj_dim": 20, "do_layer_norm_before": False}
SHORT = {"max_position_embeddings": 8}  # so that a batch is longer than the training's texts
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "longrope short": {
        "rope_type": "longrope",
        "factor": 4.0,
        "short_factor": [1.0, 1.5, 2.0],
        "long_factor": [2.0, 3.0, 5.0],
        "original_max_position_embeddings": 16,
    },
    "longrope long": {
        "rope_type": "longrope",
        "factor": 4.0,
        "short_factor": [1.0, 1.5, 2.0],
        "long_factor": [2.0, 3.0, 5.0],
        "original_max_position_embeddings": 6,
    },
    "partial": {"rope_type": "default", "partial_rotary_factor": 0.7},
}


def heads(model_type: str, values: dict[str, Any]) -> list[Row]:
    """The other heads of a decoder, one row each."""
    return [
        Row(model_type, "Model", "no head", values),
        Row(model_type, "SequenceClassification", "three labels", values | {"num_labels": 3}),
        Row(model_type, "SequenceClassification", "regression", values | {"num_labels": 1}),
        Row(model_type, "TokenClassification", "five labels", values | {"num_labels": 5}),
    ]


ROWS: list[Row] = [
    Row(
        "llama", "CausalLM", "plain", LLAMA, {"rms_norm_eps": 0.2, "hidden_act": "relu", "rope_parameters": {"rope_theta": 77.0}}
    ),
    Row("llama", "CausalLM", "tied, biases", LLAMA | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    Row("llama", "CausalLM", "wide heads", LLAMA | {"head_dim": 8, "num_key_value_heads": 3}),
    *(
        Row(
            "llama",
            "CausalLM",
            f"{name} rope",
            LLAMA | (SHORT if name == "dynamic" else {}) | {"rope_parameters": {"rope_theta": 500.0} | settings},
            {"rope_parameters": {"rope_theta": 500.0}},
            # with these a token's keys depend on how long the text was when it was read
            without=("cache_and_chunks", "left_padding", "greedy_tokens", "position_ids")
            if name in ("dynamic", "longrope long")
            else (),
        )
        for name, settings in ROPES.items()
        if name != "partial"
    ),
    *heads("llama", LLAMA),
    Row("gpt2", "CausalLM", "plain", GPT2, {"layer_norm_epsilon": 0.2, "scale_attn_weights": False}),
    Row("gpt2", "CausalLM", "scaled by layer", GPT2 | {"scale_attn_by_inverse_layer_idx": True, "n_inner": 44}),
    Row("gpt2", "CausalLM", "unscaled, relu", GPT2 | {"scale_attn_weights": False, "activation_function": "relu"}),
    Row("gpt2", "Model", "reading an encoder", GPT2 | {"add_cross_attention": True}, {"layer_norm_epsilon": 0.2}),
    Row(
        "gpt2",
        "CausalLM",
        "reading an encoder",
        GPT2 | {"add_cross_attention": True, "scale_attn_by_inverse_layer_idx": True},
        without=("greedy_tokens",),  # the decode loop hands on no encoder's states
    ),
    *heads("gpt2", GPT2),
    Row(
        "gpt_bigcode",
        "CausalLM",
        "one key for all heads",
        GPT_BIGCODE,
        {"layer_norm_epsilon": 0.2, "activation_function": "relu"},
    ),
    Row("gpt_bigcode", "CausalLM", "keys by head", GPT_BIGCODE | {"multi_query": False, "n_inner": 44}),
    Row("gpt_bigcode", "CausalLM", "unscaled, untied", GPT_BIGCODE | {"scale_attn_weights": False, "tie_word_embeddings": False}),
    *heads("gpt_bigcode", GPT_BIGCODE),
    Row(
        "gpt_neox",
        "CausalLM",
        "side by side",
        GPT_NEOX,
        {"use_parallel_residual": False, "layer_norm_eps": 0.2, "hidden_act": "relu"},
    ),
    Row(
        "gpt_neox",
        "CausalLM",
        "one after the other, no biases, tied, stretched",
        GPT_NEOX
        | {"use_parallel_residual": False, "attention_bias": False, "tie_word_embeddings": True}
        | {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0, "partial_rotary_factor": 1.0}},
        {"rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 1.0}},
    ),
    *heads("gpt_neox", GPT_NEOX),
    Row("opt", "CausalLM", "plain", OPT, {"activation_function": "gelu", "do_layer_norm_before": False}),
    Row("opt", "CausalLM", "norms after, narrow vectors", OPT | OPT_350M, {"activation_function": "gelu"}),
    Row(
        "opt",
        "CausalLM",
        "no biases, plain norms, untied",
        OPT | {"enable_bias": False, "layer_norm_elementwise_affine": False, "tie_word_embeddings": False},
    ),
    Row("opt", "CausalLM", "before the last norm was added", OPT | {"_remove_final_layer_norm": True}),
    *(row for row in heads("opt", OPT | OPT_350M) if row.head != "TokenClassification"),  # which the reference lacks
    Row("bloom", "CausalLM", "plain", BLOOM, {"layer_norm_epsilon": 0.2, "apply_residual_connection_post_layernorm": True}),
    Row("bloom", "CausalLM", "residual from the norm", BLOOM | {"apply_residual_connection_post_layernorm": True}),
    Row("bloom", "CausalLM", "untied", BLOOM | {"tie_word_embeddings": False, "n_head": 4}),
    *heads("bloom", BLOOM),
]
