"""Rows of the encoder-decoders."""

from typing import Any

from support import Row

T5: dict[str, Any] = {
    "vocab_size": 99,
    "d_model": 36,
    "d_kv": 8,
    "d_ff": 50,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 5,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    "layer_norm_epsilon": 0.1,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
# the reference ties the output layer in any case, and takes this field for whether it scales
T5_V1_1 = T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 3}

BART: dict[str, Any] = {
    "vocab_size": 99,
    "d_model": 36,
    "encoder_layers": 3,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 50,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 44,
    "max_position_embeddings": 20,
    "num_labels": 2,
}
MARIAN = BART | {
    "scale_embedding": True,
    "activation_function": "swish",
    "pad_token_id": 98,
    "eos_token_id": 0,
    "bos_token_id": None,
    "decoder_start_token_id": 98,
    "forced_eos_token_id": 0,
}
WHISPER: dict[str, Any] = {
    "vocab_size": 99,
    "num_mel_bins": 7,
    "d_model": 36,
    "encoder_layers": 3,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 50,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 44,
    "max_source_positions": 13,
    "max_target_positions": 24,
    "pad_token_id": 3,
    "bos_token_id": 4,
    "eos_token_id": 3,
    "decoder_start_token_id": 4,
    "begin_suppress_tokens": [],
    "classifier_proj_size": 17,
}


def row(
    model_type: str, head: str, what: str, values: dict[str, Any], changes: dict[str, Any] | None = None, *without: str
) -> Row:
    """A row of this family."""
    return Row(model_type, head, what, values, changes or {}, "seq2seq", without)


def heads(model_type: str, values: dict[str, Any], *kinds: str) -> list[Row]:
    """A row for each head."""
    labels = {"SequenceClassification": {"num_labels": 3}, "TokenClassification": {"num_labels": 5}}
    # two heads read the source's ids themselves
    without = {"SequenceClassification": ("embeddings_given", "encoder_run_before")}
    return [row(model_type, kind, kind, values | labels.get(kind, {}), {}, *without.get(kind, ())) for kind in kinds]


T5_HEADS = ("Model", "Encoder", "SequenceClassification", "TokenClassification", "QuestionAnswering")
BART_HEADS = ("Model", "SequenceClassification", "QuestionAnswering")

ROWS: list[Row] = [
    row(
        "t5",
        "ConditionalGeneration",
        "v1.0",
        T5,
        {
            "layer_norm_epsilon": 0.2,
            "relative_attention_max_distance": 20,
            "scale_decoder_outputs": False,
            "feed_forward_proj": "gelu",
            "decoder_start_token_id": 3,
        },
    ),
    row("t5", "ConditionalGeneration", "v1.1", T5_V1_1, {"scale_decoder_outputs": True, "feed_forward_proj": "gated-silu"}),
    row("mt5", "ConditionalGeneration", "plain", T5 | {"feed_forward_proj": "gated-gelu"}, {"scale_decoder_outputs": True}),
    *heads("t5", T5, *T5_HEADS),
    *heads("mt5", T5_V1_1, *T5_HEADS),
    row(
        "bart",
        "ConditionalGeneration",
        "plain",
        BART,
        {"activation_function": "relu", "decoder_start_token_id": 5, "scale_embedding": True},
    ),
    row("bart", "ConditionalGeneration", "scaled", BART | {"scale_embedding": True, "activation_function": "gelu_new"}),
    *heads("bart", BART, *BART_HEADS),
    row(
        "mbart",
        "ConditionalGeneration",
        "scaled",
        BART | {"scale_embedding": True},
        {"scale_embedding": False, "pad_token_id": 7},
    ),
    *heads("mbart", BART, *BART_HEADS),
    row(
        "marian",
        "ConditionalGeneration",
        "plain",
        MARIAN,
        {"scale_embedding": False, "activation_function": "gelu", "pad_token_id": 7},
    ),
    row("marian", "Model", "no head", MARIAN | {"scale_embedding": False}),
    row(
        "marian",
        "ConditionalGeneration",
        "two vocabularies",
        MARIAN | {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 99, "tie_word_embeddings": False},
        {},
        # the reference resizes the encoder's vocabulary alone; ours says that there are two
        "resized_vocabulary",
    ),
    row("whisper", "SpeechSeq2Seq", "plain", WHISPER, {"activation_function": "relu", "decoder_start_token_id": 5}),
    row("whisper", "Model", "no head", WHISPER),
    row("whisper", "AudioClassification", "three labels", WHISPER | {"num_labels": 3}),
    row("whisper", "AudioClassification", "all layers weighed", WHISPER | {"num_labels": 3, "use_weighted_layer_sum": True}),
]
