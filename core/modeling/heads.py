"""Heads that many architectures share. A head's class is written as its trunk and its kind:

    class LlamaForCausalLM(CausalLMHead, LlamaPreTrainedModel, trunk=LlamaModel): ...

Inputs of a head, by place or by name, are those of its trunk, and `labels`.
"""

from dataclasses import fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from core.modeling.layers import activation
from core.modeling.linear import Linear
from core.modeling.losses import causal_loss, classification_loss, token_loss, unseen_loss
from core.modeling.model import PreTrainedModel, keep_logits
from core.modeling.outputs import HeadOutput, ModelOutput, QuestionAnsweringModelOutput
from core.modeling.taps import tap, wanted


class Head(PreTrainedModel):
    """A trunk under `base_model_prefix` with one head on top: a kind of head makes it and says what it does; `output` is what it
    returns."""

    trunk: ClassVar[type[PreTrainedModel]]
    trunk_options: ClassVar[dict[str, Any]] = {}
    output: ClassVar[Any] = HeadOutput
    accepts_loss_kwargs: ClassVar[bool] = False  # whether the loss is normalised by num_items_in_batch

    def __init_subclass__(cls, trunk: type[PreTrainedModel] | None = None, **trunk_options: Any) -> None:
        super().__init_subclass__()
        if trunk is not None:
            cls.trunk = trunk
        if trunk_options:
            cls.trunk_options = trunk_options

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        setattr(self, self.base_model_prefix, self.trunk(config, **self.trunk_options))
        self.make_head(config)
        self.post_init()

    def make_head(self, config: Any) -> None:
        """The modules of the head."""
        raise NotImplementedError

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """Logits from the trunk's output; `given` are the inputs."""
        raise NotImplementedError

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """A scalar."""
        raise NotImplementedError

    @classmethod
    def forward_names(cls) -> list[str]:
        """The trunk's inputs and the head's."""
        own = [name for name in super().forward_names() if name not in ("inputs", "named")]
        return [*cls.trunk.forward_names(), *(name for name in own if name not in cls.trunk.forward_names())]

    def run_trunk(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The trunk's output, and the inputs by name."""
        given = dict(zip(self.trunk.forward_names(), inputs, strict=False)) | named
        return self.base_model(**given, return_dict=True), given

    def forward(
        self,
        *inputs: Any,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Any = None,
        **named: Any,
    ) -> Any:
        """The trunk's inputs; logits as the head's class says, and a loss where labels are given."""
        out, given = self.run_trunk(inputs, named)
        logits = tap("logits", None, self.head(out, given))
        loss = None if labels is None else self.loss(logits, labels, num_items_in_batch)
        return self.output(loss, logits, **inner(out, self.output)).packed(self.wants_dict(return_dict))


def inner(out: ModelOutput, kind: type[ModelOutput] = HeadOutput) -> dict[str, Any]:
    """The fields of a head's output that it passes on from its trunk's."""
    own = ("loss", "logits", "start_logits", "end_logits")
    return {field.name: out.get(field.name) for field in fields(kind) if field.name not in own}


class VocabularyHead(Head):
    """A head with a layer over the vocabulary, `output_name`: the trunk's embeddings where `tie_word_embeddings` says so. A layer
    that stands within another module has its bias there too."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.embeddings_name:
            cls._tied_weights_keys = {f"{cls.output_name}.weight": f"{cls.base_model_prefix}.{cls.embeddings_name}.weight"}
            if within := cls.output_name.rpartition(".")[0]:
                cls._tied_weights_keys[f"{cls.output_name}.bias"] = f"{within}.bias"

    def trained_output(self) -> list[torch.Tensor]:
        """The trained parameters of the layer over the vocabulary."""
        output = self.get_output_embeddings()
        return [] if output is None else [parameter for parameter in output.parameters() if parameter.requires_grad]


class CausalLMHead(VocabularyHead):
    """Logits (batch, tokens, vocabulary) for the next token, of the last `logits_to_keep` tokens where that is not 0; labels
    (batch, tokens), -100 not counted."""

    output_bias: ClassVar[bool] = False
    accepts_loss_kwargs = True

    def make_head(self, config: Any) -> None:
        """One layer over the vocabulary."""
        setattr(self, self.output_name, Linear(self.width, config.vocab_size, self.output_bias))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return getattr(self, self.output_name)(hidden)

    def forward(
        self,
        *inputs: Any,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: Any = None,
        skip_logits: bool = False,
        **named: Any,
    ) -> Any:
        """The trunk's inputs; logits, and a loss where labels are given. skip_logits: the loss alone, in less memory."""
        out, _ = self.run_trunk(inputs, named)
        if skip_logits and labels is not None and not wanted("logits", None):
            loss = unseen_loss(self.logits, out.last_hidden_state, labels, self.trained_output(), True, num_items_in_batch)
            return HeadOutput(loss, None, **inner(out)).packed(self.wants_dict(return_dict))  # type: ignore[arg-type]
        logits = tap("logits", None, self.logits(keep_logits(out.last_hidden_state, logits_to_keep)))
        loss = None if labels is None else causal_loss(logits, labels, num_items_in_batch)
        return HeadOutput(loss, logits, **inner(out)).packed(self.wants_dict(return_dict))


class LastTokenHead(Head):
    """Logits (batch, labels) for a whole text, from its last token that is no padding; one label regresses."""

    def make_head(self, config: Any) -> None:
        """One layer without bias."""
        self.score = nn.Linear(self.width, config.num_labels, bias=False)

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """(batch, labels)."""
        logits = self.score(out.last_hidden_state)
        ids, mask, pad = given.get("input_ids"), given.get("attention_mask"), self.config.pad_token_id
        real = ids != pad if ids is not None and pad is not None else mask
        if real is None:
            return logits[:, -1]
        last = (torch.arange(real.shape[1], device=logits.device) * real.to(logits.device)).argmax(-1)
        return logits[torch.arange(logits.shape[0], device=logits.device), last]

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """By `config.problem_type`."""
        return classification_loss(logits, labels, self.config)


class TokenHead(Head):
    """Logits (batch, tokens, labels) for each token."""

    classifier_name: ClassVar[str] = "classifier"
    accepts_loss_kwargs = True
    dropout_names: ClassVar[tuple[str, ...]] = ("classifier_dropout", "hidden_dropout", "hidden_dropout_prob")

    def make_head(self, config: Any) -> None:
        """Dropout and one layer."""
        chosen = [value for name in self.dropout_names if (value := getattr(config, name, None)) is not None]
        self.dropout = nn.Dropout(chosen[0] if chosen else 0.1)
        setattr(self, self.classifier_name, self.make_classifier(config))

    def make_classifier(self, config: Any) -> nn.Module:
        """From a state to its logits."""
        return nn.Linear(self.width, config.num_labels)

    def state(self, out: Any) -> torch.Tensor:
        """What is classified: of each token."""
        return out.last_hidden_state

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """(batch, tokens, labels)."""
        return getattr(self, self.classifier_name)(self.dropout(self.state(out)))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """Cross entropy by token."""
        return token_loss(logits, labels, num_items_in_batch)


class PooledHead(TokenHead):
    """Logits (batch, labels) for a whole text, from the trunk's pooled state; one label regresses."""

    accepts_loss_kwargs = False

    def state(self, out: Any) -> torch.Tensor:
        """What is classified: of the text (batch, width)."""
        return out.pooler_output

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """By `config.problem_type`."""
        return classification_loss(logits, labels, self.config)


class FirstTokenHead(PooledHead):
    """Logits (batch, labels) for a whole text, from its first token through a hidden layer; one label regresses."""

    inner_activation: ClassVar[str] = "tanh"

    def make_classifier(self, config: Any) -> nn.Module:
        """A hidden layer and one to the labels."""
        return HiddenLayerClassifier(config.hidden_size, config.num_labels, self.inner_activation, self.dropout.p)

    def state(self, out: Any) -> torch.Tensor:
        """The first token (batch, width)."""
        return out.last_hidden_state[:, 0]


class HiddenLayerClassifier(nn.Module):
    """out_proj(dropout(act(dense x)))."""

    def __init__(self, width: int, labels: int, act: str, dropout: float) -> None:
        super().__init__()
        self.dense, self.out_proj = nn.Linear(width, width), nn.Linear(width, labels)
        self.act, self.dropout = activation(act), nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width) -> (batch, labels)."""
        return self.out_proj(self.dropout(self.act(self.dense(x))))


class ChoiceHead(PooledHead):
    """Which of several texts is right: inputs (batch, choices, tokens), logits (batch, choices); labels (batch,)."""

    def make_classifier(self, config: Any) -> nn.Module:
        """One number a text."""
        return nn.Linear(config.hidden_size, 1)

    def run_trunk(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The trunk reads each choice as a text of its own; the inputs as they were given."""
        given = dict(zip(self.trunk.forward_names(), inputs, strict=False)) | named
        by_choice = {
            name: value.flatten(0, -1 - own) for name, own in BY_CHOICE.items() if (value := given.get(name)) is not None
        }
        return super().run_trunk((), given | by_choice)[0], given

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """(batch, choices)."""
        texts = given["inputs_embeds"] if given.get("input_ids") is None else given["input_ids"]
        return super().head(out, given).view(-1, texts.shape[1])

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """Cross entropy over the choices."""
        return token_loss(logits, labels)


# inputs that differ by choice, and how many dimensions a text has in them
BY_CHOICE = {"input_ids": 1, "attention_mask": 1, "token_type_ids": 1, "position_ids": 1, "inputs_embeds": 2}


class MaskedHead(VocabularyHead):
    """Logits (batch, tokens, vocabulary) for the masked words; labels (batch, tokens), -100 not counted."""

    accepts_loss_kwargs = True

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """Cross entropy at the masked places."""
        return token_loss(logits, labels, num_items_in_batch)


class SpanHead(Head):
    """Where in the text an answer begins and ends: start_logits and end_logits (batch, tokens)."""

    output = QuestionAnsweringModelOutput

    def make_head(self, config: Any) -> None:
        """Two numbers a token."""
        self.dropout = nn.Dropout(getattr(config, "qa_dropout", 0.0))
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def forward(
        self,
        *inputs: Any,
        start_positions: torch.LongTensor | None = None,
        end_positions: torch.LongTensor | None = None,
        return_dict: bool | None = None,
        **named: Any,
    ) -> Any:
        """The trunk's inputs; start_positions and end_positions (batch,) give a loss, in which one past the end does not count."""
        out, _ = self.run_trunk(inputs, named)
        start, end = self.qa_outputs(self.dropout(out.last_hidden_state)).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            length = start.shape[1]
            losses = [
                F.cross_entropy(logits, where.view(-1).clamp(0, length), ignore_index=length)
                for logits, where in ((start, start_positions), (end, end_positions))
            ]
            loss = (losses[0] + losses[1]) / 2
        return self.output(loss, start, end, **inner(out, self.output)).packed(self.wants_dict(return_dict))
