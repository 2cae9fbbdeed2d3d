"""Auto classes: from a configuration's `model_type` to its classes, by literal tables, imported when first needed."""

import importlib
from pathlib import Path
from typing import Any, ClassVar

from core.errors import ConfigError
from core.modeling.configuration import PreTrainedConfig, read_config

MODELS = {
    "bert": "core.models.bert",
    "gpt2": "core.models.gpt2",
    "llama": "core.models.llama",
}
CONFIGS = {"bert": "BertConfig", "gpt2": "GPT2Config", "llama": "LlamaConfig"}
BASE = {"bert": "BertModel", "gpt2": "GPT2Model", "llama": "LlamaModel"}
CAUSAL_LM = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
MASKED_LM = {"bert": "BertForMaskedLM"}
SEQUENCE_CLASSIFICATION = {"bert": "BertForSequenceClassification"}
TOKEN_CLASSIFICATION = {"bert": "BertForTokenClassification"}
QUESTION_ANSWERING = {"bert": "BertForQuestionAnswering"}


def _class(model_type: str, table: dict[str, str], wanted: str) -> Any:
    if model_type not in MODELS:
        raise ConfigError(f"architecture '{model_type}' is not supported; supported: {', '.join(sorted(MODELS))}.")
    if model_type not in table:
        raise ConfigError(f"architecture '{model_type}' has no {wanted} class; those that have: {', '.join(sorted(table))}.")
    return getattr(importlib.import_module(MODELS[model_type]), table[model_type])


def _model_type(values: dict[str, Any], name: Any) -> str:
    if not (found := values.get("model_type")):
        raise ConfigError(f"{name}: config.json does not say its model_type.")
    return found


class AutoConfig:
    """Configurations by name."""

    @staticmethod
    def from_pretrained(name_or_path: str | Path, **overrides: Any) -> PreTrainedConfig:
        """The configuration of a folder, a GGUF file, a starter or a hub name."""
        values = read_config(name_or_path)
        return _class(_model_type(values, name_or_path), CONFIGS, "configuration").from_dict(values, **overrides)

    @staticmethod
    def for_model(model_type: str, **values: Any) -> PreTrainedConfig:
        """A configuration of this architecture."""
        return _class(model_type, CONFIGS, "configuration")(**values)


class _AutoModel:
    """The base of the auto classes for models."""

    table: ClassVar[dict[str, str]] = BASE

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """The model of a folder, a GGUF file, a starter or a hub name, in this class's kind: core.modeling.loading.load."""
        config = kwargs.get("config")
        name = pretrained_model_name_or_path
        if config is not None:
            model_type = config.model_type
        else:
            file = Path(name) / kwargs["gguf_file"] if kwargs.get("gguf_file") else name
            model_type = _model_type(read_config(file), name)
        return _class(model_type, cls.table, cls.__name__).from_pretrained(name, **kwargs)

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **kwargs: Any) -> Any:
        """A model with random weights."""
        return _class(config.model_type, cls.table, cls.__name__)(config)


class AutoModel(_AutoModel):
    """The model without a head."""


class AutoModelForCausalLM(_AutoModel):
    """Predicts the next token."""

    table = CAUSAL_LM


class AutoModelForMaskedLM(_AutoModel):
    """Predicts masked tokens."""

    table = MASKED_LM


class AutoModelForSequenceClassification(_AutoModel):
    """Labels a text."""

    table = SEQUENCE_CLASSIFICATION


class AutoModelForTokenClassification(_AutoModel):
    """Labels each token."""

    table = TOKEN_CLASSIFICATION


class AutoModelForQuestionAnswering(_AutoModel):
    """Finds an answer in a text."""

    table = QUESTION_ANSWERING
