"""Rows of the encoders."""

from dataclasses import replace
from typing import Any

from support import Row

BERT: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "layer_norm_eps": 0.1,
    "max_position_embeddings": 64,
    "type_vocab_size": 3,
}
ROBERTA = BERT | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
ELECTRA = BERT | {"embedding_size": 20}
ALBERT = ELECTRA | {"num_hidden_groups": 2}
DISTILBERT: dict[str, Any] = {
    "vocab_size": 99,
    "dim": 36,
    "hidden_dim": 50,
    "n_layers": 3,
    "n_heads": 6,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
# as deberta-v3's config.json has it, with few buckets so that a short text fills them
DEBERTA: dict[str, Any] = BERT | {
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 6,
    "max_relative_positions": -1,
    "pos_att_type": "p2c|c2p",
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
DEBERTA_V2: dict[str, Any] = {
    "share_att_key": False,
    "norm_rel_ebd": "none",
    "conv_kernel_size": 3,
    "conv_act": "gelu",
    "position_biased_input": True,
    "type_vocab_size": 3,
    "embedding_size": 20,
}


def heads(model_type: str, values: dict[str, Any], *more: Row) -> list[Row]:
    """The heads of an encoder, one row each and three for the labels of a text; `more` are its own."""
    several = {"num_labels": 4, "problem_type": "multi_label_classification"}
    regression: dict[str, Any] = {"num_labels": 1}
    if model_type == "deberta-v2":  # left unsaid, the reference drops the logits' last dimension where labels are given
        regression["problem_type"] = "regression"
    rows = [
        Row(model_type, "Model", "no head", values),
        Row(model_type, "MaskedLM", "masked words", values),
        Row(model_type, "SequenceClassification", "three labels", values | {"num_labels": 3}),
        Row(model_type, "SequenceClassification", "regression", values | regression),
        Row(model_type, "SequenceClassification", "several labels", values | several),
        Row(model_type, "TokenClassification", "five labels", values | {"num_labels": 5}),
        Row(model_type, "QuestionAnswering", "spans", values),
        *more,
    ]
    return [replace(row, family="encoder") for row in rows]


ROWS: list[Row] = [
    *heads(
        "bert",
        BERT,
        Row("bert", "Model", "plain", BERT, {"layer_norm_eps": 0.2, "hidden_act": "gelu_new", "is_decoder": True}),
        Row("bert", "MaskedLM", "untied, relu", BERT | {"tie_word_embeddings": False, "hidden_act": "relu"}),
        Row("bert", "MultipleChoice", "two choices", BERT),
        Row("bert", "NextSentencePrediction", "two sentences", BERT),
        Row("bert", "PreTraining", "words and sentences", BERT),
    ),
    *heads(
        "roberta",
        ROBERTA,
        Row("roberta", "Model", "changed", ROBERTA, {"layer_norm_eps": 0.2, "hidden_act": "gelu_new", "pad_token_id": 3}),
        Row("roberta", "MultipleChoice", "two choices", ROBERTA),
    ),
    *heads("xlm-roberta", ROBERTA, Row("xlm-roberta", "MultipleChoice", "two choices", ROBERTA)),
    *heads("camembert", ROBERTA, Row("camembert", "MultipleChoice", "two choices", ROBERTA)),
    *heads(
        "electra",
        ELECTRA,
        Row("electra", "Model", "wide words", ELECTRA | {"embedding_size": 36}, {"layer_norm_eps": 0.2, "hidden_act": "relu"}),
        Row("electra", "PreTraining", "replaced words", ELECTRA, {"hidden_act": "relu"}),
        Row("electra", "MultipleChoice", "two choices", ELECTRA, {"summary_activation": "tanh"}),
    ),
    *heads(
        "albert",
        ALBERT,
        Row("albert", "Model", "changed", ALBERT, {"layer_norm_eps": 0.2, "hidden_act": "relu", "num_hidden_groups": 1}),
        Row("albert", "MaskedLM", "one group", ALBERT | {"num_hidden_groups": 1}),
        Row("albert", "Model", "inner groups", ALBERT | {"inner_group_num": 2}),
        Row("albert", "MultipleChoice", "two choices", ALBERT),
    ),
    *heads(
        "distilbert",
        DISTILBERT,
        Row("distilbert", "Model", "changed", DISTILBERT, {"activation": "relu", "n_heads": 3}),
        Row("distilbert", "MultipleChoice", "two choices", DISTILBERT),
    ),
    *heads(
        "deberta-v2",
        DEBERTA,
        Row("deberta-v2", "MultipleChoice", "two choices", DEBERTA, {"pooler_hidden_act": "tanh"}),
        Row("deberta-v2", "MaskedLM", "the original's head", DEBERTA | {"legacy": False}),
        Row(
            "deberta-v2",
            "Model",
            "v3",
            DEBERTA,
            {"max_relative_positions": 12, "norm_rel_ebd": "none", "pos_att_type": ["c2p"]},
        ),
        Row(
            "deberta-v2",
            "MaskedLM",
            "v2 with its own projections, convolution, positions, segments",
            DEBERTA | DEBERTA_V2,
            {"conv_act": "relu", "pos_att_type": "p2c", "position_biased_input": False, "share_att_key": True},
        ),
        Row("deberta-v2", "Model", "c2p, no buckets", DEBERTA | {"pos_att_type": "c2p", "position_buckets": -1}),
        Row(
            "deberta-v2",
            "Model",
            "p2c, short reach",
            DEBERTA | {"pos_att_type": "p2c", "position_buckets": -1, "max_relative_positions": 5},
        ),
        Row("deberta-v2", "Model", "absolute", DEBERTA | {"relative_attention": False, "position_biased_input": True}),
    ),
    Row("bert", "CausalLM", "as a decoder", BERT | {"is_decoder": True}),
    Row("roberta", "Model", "as a decoder", ROBERTA | {"is_decoder": True}, {"is_decoder": False}),
    Row("electra", "Model", "as a decoder", ELECTRA | {"is_decoder": True}, {"is_decoder": False}),
    Row("bert", "Model", "as a decoder", BERT | {"is_decoder": True}, {"is_decoder": False}),
]
