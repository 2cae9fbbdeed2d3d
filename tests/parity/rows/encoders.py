"""Rows of the encoders."""

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
}


def heads(model_type: str, values: dict[str, Any]) -> list[Row]:
    """The heads of an encoder, one row each and three for the labels of a text."""
    several = {"num_labels": 4, "problem_type": "multi_label_classification"}
    rows = [
        Row(model_type, "Model", "no head", values),
        Row(model_type, "MaskedLM", "masked words", values),
        Row(model_type, "SequenceClassification", "three labels", values | {"num_labels": 3}),
        Row(model_type, "SequenceClassification", "regression", values | {"num_labels": 1}),
        Row(model_type, "SequenceClassification", "several labels", values | several),
        Row(model_type, "TokenClassification", "five labels", values | {"num_labels": 5}),
        Row(model_type, "QuestionAnswering", "spans", values),
    ]
    return [Row(r.model_type, r.head, r.what, r.values, family="encoder") for r in rows]


ROWS: list[Row] = [
    Row("bert", "Model", "plain", BERT, {"layer_norm_eps": 0.2, "hidden_act": "gelu_new"}, family="encoder"),
    *heads("bert", BERT),
]
