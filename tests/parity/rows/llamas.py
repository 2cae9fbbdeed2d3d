"""Rows of LLaMA's relatives."""

from typing import Any

from support import Row

from rows.decoders import LLAMA, SHORT, heads

FULL, SLIDING = "full_attention", "sliding_attention"
WINDOW = {"sliding_window": 4}
MISTRAL: dict[str, Any] = LLAMA | WINDOW
MIXTRAL: dict[str, Any] = LLAMA | {"num_local_experts": 5, "num_experts_per_tok": 2, "intermediate_size": 24}
QWEN2: dict[str, Any] = LLAMA | WINDOW | {"use_sliding_window": True, "max_window_layers": 1}
QWEN3: dict[str, Any] = LLAMA | {"head_dim": 8}
GEMMA: dict[str, Any] = LLAMA | {"head_dim": 8, "intermediate_size": 44}
GEMMA2: dict[str, Any] = (
    GEMMA | WINDOW | {"query_pre_attn_scalar": 5, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0}
)
GEMMA3: dict[str, Any] = (
    GEMMA
    | WINDOW
    | {
        "query_pre_attn_scalar": 5,
        "layer_types": [SLIDING, FULL, SLIDING],
        "rope_parameters": {FULL: {"rope_theta": 900.0, "rope_type": "linear", "factor": 3.0}, SLIDING: {"rope_theta": 40.0}},
    }
)
GRANITE: dict[str, Any] = LLAMA | {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.3,
    "residual_multiplier": 0.7,
    "logits_scaling": 5.0,
}
PHI3: dict[str, Any] = LLAMA | {"eos_token_id": 2}
STARCODER2: dict[str, Any] = {key: value for key, value in LLAMA.items() if key != "rms_norm_eps"} | {"norm_epsilon": 0.1}
LONGROPE: dict[str, Any] = {
    "rope_theta": 500.0,
    "rope_type": "longrope",
    "short_factor": [1.0, 1.5],
    "long_factor": [2.0, 3.0],
    "partial_rotary_factor": 0.7,
}
# with these a token's keys depend on how long the text was when it was read
GROWING = ("cache_and_chunks", "left_padding", "greedy_tokens", "position_ids")

ROWS: list[Row] = [
    Row(
        "granite",
        "CausalLM",
        "four multipliers",
        GRANITE,
        {"embedding_multiplier": 1.0, "attention_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0},
    ),
    Row("granite", "Model", "tied, biases", GRANITE | {"tie_word_embeddings": True, "attention_bias": True}),
    Row("mistral", "CausalLM", "sliding", MISTRAL, {"sliding_window": 5, "rms_norm_eps": 0.2}),
    Row("mistral", "CausalLM", "whole text, tied", LLAMA | {"sliding_window": None, "tie_word_embeddings": True, "head_dim": 8}),
    *heads("mistral", MISTRAL),
    Row("mixtral", "CausalLM", "plain", MIXTRAL, {"num_experts_per_tok": 1, "rope_parameters": {"rope_theta": 77.0}}),
    Row(
        "mixtral",
        "CausalLM",
        "router's loss, sliding, tied",
        MIXTRAL | WINDOW | {"output_router_logits": True, "router_aux_loss_coef": 0.7, "tie_word_embeddings": True},
        {"sliding_window": 5},
        # two read output[0], where the router's loss stands here; the reference cannot generate with it
        without=("resized_vocabulary", "cache_and_chunks", "greedy_tokens"),
    ),
    *heads("mixtral", MIXTRAL),
    Row("qwen2", "CausalLM", "upper layers slide", QWEN2, {"sliding_window": 5, "rope_parameters": {"rope_theta": 77.0}}),
    Row("qwen2", "CausalLM", "no window, tied", LLAMA | WINDOW | {"use_sliding_window": False, "tie_word_embeddings": True}),
    Row("qwen2", "CausalLM", "layers named", QWEN2 | {"layer_types": [SLIDING, FULL, SLIDING]}, {"layer_types": [FULL] * 3}),
    *heads("qwen2", QWEN2),
    Row("qwen3", "CausalLM", "plain", QWEN3, {"rms_norm_eps": 0.2, "hidden_act": "relu"}),
    Row("qwen3", "CausalLM", "biases, sliding", QWEN2 | {"head_dim": 10, "attention_bias": True}, {"sliding_window": 5}),
    *heads("qwen3", QWEN3),
    Row("gemma", "CausalLM", "plain", GEMMA, {"rms_norm_eps": 0.2, "hidden_act": "relu"}),
    Row("gemma", "CausalLM", "untied, the first release's gelu", GEMMA | {"tie_word_embeddings": False, "hidden_act": "gelu"}),
    *heads("gemma", GEMMA),
    Row(
        "gemma2",
        "CausalLM",
        "plain",
        GEMMA2,
        {
            "sliding_window": 5,
            "query_pre_attn_scalar": 7,
            "attn_logit_softcapping": 4.0,
            "final_logit_softcapping": None,
            "hidden_activation": "relu",
            "layer_types": [SLIDING] * 3,
        },
    ),
    Row("gemma2", "CausalLM", "no caps", GEMMA2 | {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    *heads("gemma2", GEMMA2),
    Row(
        "gemma3_text",
        "CausalLM",
        "two rotations",
        GEMMA3,
        {"sliding_window": 5, "query_pre_attn_scalar": 7, "rope_parameters": {}, "layer_types": [SLIDING] * 3},
    ),
    Row(
        "gemma3_text",
        "CausalLM",
        "capped logits, untied",
        GEMMA2 | {"tie_word_embeddings": False, "sliding_window_pattern": 2},
        {"final_logit_softcapping": None},
    ),
    *(row for row in heads("gemma3_text", GEMMA3) if row.head != "TokenClassification"),  # which the reference lacks
    Row("phi3", "CausalLM", "plain", PHI3, {"rms_norm_eps": 0.2, "rope_parameters": {"rope_theta": 77.0}}),
    Row(
        "phi3",
        "CausalLM",
        "longrope for short texts",
        PHI3 | {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32},
        {"rope_parameters": LONGROPE | {"short_factor": [1.0, 2.0]}},
    ),
    Row(
        "phi3",
        "CausalLM",
        "longrope for long texts, sliding",
        PHI3 | WINDOW | SHORT | {"rope_parameters": LONGROPE, "original_max_position_embeddings": 4},
        {"rope_parameters": LONGROPE | {"long_factor": [1.0, 2.0]}},
        without=GROWING,
    ),
    *heads("phi3", PHI3),
    Row("starcoder2", "CausalLM", "plain", STARCODER2, {"norm_epsilon": 0.2, "hidden_act": "relu"}),
    Row(
        "starcoder2",
        "CausalLM",
        "sliding, no biases, untied",
        STARCODER2 | WINDOW | {"use_bias": False, "tie_word_embeddings": False},
        {"sliding_window": 5},
    ),
    *heads("starcoder2", STARCODER2),
]
