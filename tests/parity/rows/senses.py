"""Rows of the models that see and hear."""

from typing import Any

from support import Row

VIT: dict[str, Any] = {
    "hidden_size": 36,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 50,
    "layer_norm_eps": 0.1,
    "image_size": 12,
    "patch_size": 4,
}
CLIP_TEXT: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 16,
    "layer_norm_eps": 0.1,
    "eos_token_id": 98,
    "projection_dim": 20,
}
CLIP_VISION: dict[str, Any] = {
    "hidden_size": 30,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "image_size": 12,
    "patch_size": 4,
    "layer_norm_eps": 0.1,
    "projection_dim": 20,
}
CLIP: dict[str, Any] = {"text_config": CLIP_TEXT, "vision_config": CLIP_VISION, "projection_dim": 20}
WAV2VEC2: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 36,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 50,
    "layer_norm_eps": 0.1,
    "conv_dim": (10, 12, 14),
    "conv_kernel": (5, 3, 2),
    "conv_stride": (3, 2, 2),
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 3,
    "classifier_proj_size": 17,
    "mask_time_length": 3,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.1,  # so that the vector for hidden frames exists
    "layerdrop": 0.0,
}
STABLE = WAV2VEC2 | {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True, "num_conv_pos_embeddings": 5}


def row(
    model_type: str,
    head: str,
    what: str,
    values: dict[str, Any],
    changes: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
) -> Row:
    """A row of this family."""
    return Row(model_type, head, what, values, changes or {}, "senses", without)


# no names of the same kind: what the reference's 5.x calls in memory, and what its files and 4.x call it
RENAMED = {
    "vit": [
        (r"\blayers\.(\d+)", r"encoder.layer.\1"),
        (r"attention\.q_proj", "attention.attention.query"),
        (r"attention\.k_proj", "attention.attention.key"),
        (r"attention\.v_proj", "attention.attention.value"),
        (r"attention\.o_proj", "attention.output.dense"),
        (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense"),
    ]
}

ROWS: list[Row] = [
    row("vit", "Model", "plain", VIT, {"layer_norm_eps": 0.2, "hidden_act": "relu"}),
    row("vit", "Model", "no biases, oblong", VIT | {"qkv_bias": False, "image_size": (8, 12), "patch_size": (4, 2)}),
    row(
        "vit",
        "Model",
        "wide pooler",
        VIT | {"pooler_output_size": 40, "pooler_act": "relu", "num_channels": 1},
        {"pooler_act": "tanh"},
    ),
    row("vit", "ImageClassification", "three labels", VIT | {"num_labels": 3}),
    row("vit", "ImageClassification", "regression", VIT | {"num_labels": 1}),
    row(
        "clip",
        "Model",
        "plain",
        CLIP,
        {"text_config": CLIP_TEXT | {"layer_norm_eps": 0.2}, "vision_config": CLIP_VISION | {"hidden_act": "gelu"}},
    ),
    row("clip", "ImageClassification", "three labels", CLIP | {"num_labels": 3}),
    row("clip_text_model", "Model", "tower", CLIP_TEXT, {"hidden_act": "gelu"}),
    row("clip_text_model", "Model", "old end token", CLIP_TEXT | {"eos_token_id": 2}, {"eos_token_id": 50}),
    row("clip_text_model", "TextProjection", "projected", CLIP_TEXT),
    row("clip_vision_model", "Model", "tower", CLIP_VISION, {"layer_norm_eps": 0.2}),
    row("clip_vision_model", "ImageProjection", "projected", CLIP_VISION),
    row("wav2vec2", "Model", "group norm", WAV2VEC2, {"hidden_act": "relu", "layer_norm_eps": 0.2}),
    row("wav2vec2", "Model", "stable layer norm", STABLE, {"do_stable_layer_norm": False}),
    row("wav2vec2", "Model", "adapter", WAV2VEC2 | {"add_adapter": True, "output_hidden_size": 28, "num_adapter_layers": 2}),
    row("wav2vec2", "CTC", "letters", WAV2VEC2, {"ctc_loss_reduction": "mean"}),
    row("wav2vec2", "CTC", "letters, stable, mean", STABLE | {"ctc_loss_reduction": "mean"}),
    row("wav2vec2", "AudioClassification", "three labels", WAV2VEC2 | {"num_labels": 3}),
    row("wav2vec2", "AudioClassification", "all layers weighed", STABLE | {"num_labels": 3, "use_weighted_layer_sum": True}),
]
