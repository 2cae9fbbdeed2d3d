"""What a forward returns: attribute, key and index access over the fields that are not None."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch

from core.modeling.cache import Cache

Tensors = tuple[torch.Tensor, ...]


@dataclass
class ModelOutput:
    """Fields that are None do not count: `output[0]`, `output["logits"]` and `to_tuple()` skip them."""

    def items(self) -> list[tuple[str, Any]]:
        """(name, value) of the present fields, in declared order."""
        return [(f.name, value) for f in fields(self) if (value := getattr(self, f.name)) is not None]

    def to_tuple(self) -> tuple[Any, ...]:
        """The present fields in declared order."""
        return tuple(value for _, value in self.items())

    def keys(self) -> list[str]:
        """Names of the present fields."""
        return [name for name, _ in self.items()]

    def get(self, key: str, default: Any = None) -> Any:
        """The field, or the default where it is absent."""
        return dict(self.items()).get(key, default)

    def packed(self, return_dict: bool) -> Any:
        """Itself, or the plain tuple that `return_dict=False` asks for."""
        return self if return_dict else self.to_tuple()

    def __getitem__(self, key: str | int | slice) -> Any:
        return dict(self.items())[key] if isinstance(key, str) else self.to_tuple()[key]

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.items())


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """last_hidden_state (batch, tokens, width); pooler_output (batch, width); attentions a layer (batch, heads, q, k). The cache and
    cross-attentions are those of an encoder's layers that work as a decoder."""

    last_hidden_state: torch.Tensor = None  # type: ignore[assignment]
    pooler_output: torch.Tensor | None = None
    hidden_states: Tensors | None = None
    past_key_values: Cache | None = None
    attentions: Tensors | None = None
    cross_attentions: Tensors | None = None


@dataclass
class BaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """past_key_values[i] is (k, v), each (batch, kv heads, tokens, head width), four tensors with cross-attention."""

    last_hidden_state: torch.Tensor = None  # type: ignore[assignment]
    past_key_values: Cache | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    cross_attentions: Tensors | None = None


@dataclass
class MoeModelOutputWithPast(ModelOutput):
    """router_logits a layer (batch * tokens, experts)."""

    last_hidden_state: torch.Tensor = None  # type: ignore[assignment]
    past_key_values: Cache | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    router_logits: Tensors | None = None


@dataclass
class MoeCausalLMOutputWithPast(ModelOutput):
    """loss and aux_loss scalars; logits (batch, tokens, vocabulary); router_logits a layer (batch * tokens, experts)."""

    loss: torch.Tensor | None = None
    aux_loss: torch.Tensor | None = None
    logits: torch.Tensor = None  # type: ignore[assignment]
    past_key_values: Cache | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    router_logits: Tensors | None = None


@dataclass
class HeadOutput(ModelOutput):
    """A task head's: loss a scalar; logits (batch, labels), or (batch, tokens, labels or vocabulary)."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor = None  # type: ignore[assignment]
    past_key_values: Cache | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    cross_attentions: Tensors | None = None


@dataclass
class PreTrainingOutput(ModelOutput):
    """loss a scalar; prediction_logits (batch, tokens, vocabulary); seq_relationship_logits (batch, 2)."""

    loss: torch.Tensor | None = None
    prediction_logits: torch.Tensor = None  # type: ignore[assignment]
    seq_relationship_logits: torch.Tensor = None  # type: ignore[assignment]
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    """loss a scalar; start_logits and end_logits (batch, tokens)."""

    loss: torch.Tensor | None = None
    start_logits: torch.Tensor = None  # type: ignore[assignment]
    end_logits: torch.Tensor = None  # type: ignore[assignment]
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class Seq2SeqModelOutput(ModelOutput):
    """last_hidden_state is the decoder's, encoder_last_hidden_state (batch, source tokens, width); past_key_values[i] is (k, v, cross k,
    cross v)."""

    last_hidden_state: torch.Tensor = None  # type: ignore[assignment]
    past_key_values: Cache | None = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: torch.Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class Seq2SeqLMOutput(ModelOutput):
    """A head's on an encoder-decoder: loss a scalar; logits (batch, target tokens, vocabulary) or (batch, labels)."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor = None  # type: ignore[assignment]
    past_key_values: Cache | None = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: torch.Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class Seq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """loss a scalar; start_logits and end_logits (batch, tokens)."""

    loss: torch.Tensor | None = None
    start_logits: torch.Tensor = None  # type: ignore[assignment]
    end_logits: torch.Tensor = None  # type: ignore[assignment]
    past_key_values: Cache | None = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: torch.Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None
