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


def heads(model_type: str, values: dict[str, Any], *more: Row) -> list[Row]:
    """The heads of an encoder, one row each and three for the labels of a text; `more` are its own."""
    several = {"num_labels": 4, "problem_type": "multi_label_classification"}
    rows = [
        Row(model_type, "Model", "no head", values),
        Row(model_type, "MaskedLM", "masked words", values),
        Row(model_type, "SequenceClassification", "three labels", values | {"num_labels": 3}),
        Row(model_type, "SequenceClassification", "regression", values | {"num_labels": 1}),
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
    Row("bert", "CausalLM", "as a decoder", BERT | {"is_decoder": True}),
    Row("bert", "Model", "as a decoder", BERT | {"is_decoder": True}, {"is_decoder": False}),
]
