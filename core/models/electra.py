"""ELECTRA: BERT with word vectors narrower than its layers, trained as a generator of words (MaskedLM) and a discriminator that
says which words were replaced (PreTraining). Clark et al. 2020."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.errors import ConfigError
from core.modeling.heads import ChoiceHead, FirstTokenHead, Head, MaskedHead, SpanHead, TokenHead, inner
from core.modeling.layers import activation
from core.modeling.model import PreTrainedModel
from core.modeling.outputs import HeadOutput
from core.modeling.taps import tap
from core.models.bert import BertConfig, BertEmbeddings, BertModel, BertPredictionHeadTransform


class ElectraConfig(BertConfig):
    """Keys and defaults of an electra config.json."""

    model_type = "electra"
    defaults = BertConfig.defaults | {
        "embedding_size": 128,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "summary_type": "first",
        "summary_use_proj": True,
        "summary_activation": "gelu",
        "summary_last_dropout": 0.1,
    }


class ElectraPreTrainedModel(PreTrainedModel):
    """What the ELECTRA classes share."""

    config_class = ElectraConfig
    base_model_prefix = "electra"
    embeddings_name = "embeddings.word_embeddings"


class ElectraModel(ElectraPreTrainedModel, BertModel):
    """The encoder without a head; no pooler."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, add_pooling_layer=False)

    def make_embeddings(self, config: Any) -> BertEmbeddings:
        """Narrow vectors, and the layer that widens them."""
        narrow, wide = config.embedding_size, config.hidden_size
        self.embeddings_project = nn.Linear(narrow, wide) if narrow != wide else None
        return BertEmbeddings(config, narrow)

    def embed(self, words: torch.Tensor, segments: Any, positions: torch.Tensor, attention_mask: Any) -> torch.Tensor:
        """BERT's, widened."""
        x = self.embeddings(words, segments, positions)
        return x if self.embeddings_project is None else self.embeddings_project(x)


class ElectraForMaskedLM(MaskedHead, ElectraPreTrainedModel, trunk=ElectraModel):
    """The generator: logits (batch, tokens, vocabulary) for the masked words."""

    output_name = "generator_lm_head"

    def make_head(self, config: Any) -> None:
        """Back to the width of the word vectors, and over the vocabulary."""
        self.generator_predictions = BertPredictionHeadTransform(config, config.embedding_size, "gelu")
        self.generator_lm_head = nn.Linear(config.embedding_size, config.vocab_size)

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """Logits over the vocabulary."""
        return self.generator_lm_head(self.generator_predictions(out.last_hidden_state))


class ElectraDiscriminatorPredictions(nn.Module):
    """dense_prediction(act(dense x)): one number a token."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense_prediction = nn.Linear(config.hidden_size, 1)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens)."""
        return self.dense_prediction(self.act(self.dense(x))).squeeze(-1)


class ElectraForPreTraining(Head, ElectraPreTrainedModel, trunk=ElectraModel):
    """The discriminator: logits (batch, tokens), positive where a word was replaced."""

    def make_head(self, config: Any) -> None:
        """Two layers."""
        self.discriminator_predictions = ElectraDiscriminatorPredictions(config)

    def forward(self, *inputs: Any, labels: torch.Tensor | None = None, return_dict: bool | None = None, **named: Any) -> Any:
        """The trunk's inputs; labels (batch, tokens), 1 for a replaced word, give the binary cross entropy over what is no padding."""
        out, given = self.run_trunk(inputs, named)
        logits = tap("logits", None, self.discriminator_predictions(out.last_hidden_state))
        loss = None
        if labels is not None:
            mask = given.get("attention_mask")
            real = torch.ones_like(labels) == 1 if mask is None else mask == 1
            loss = F.binary_cross_entropy_with_logits(logits[real], labels[real].to(logits.dtype))
        return HeadOutput(loss, logits, **inner(out)).packed(self.wants_dict(return_dict))


class ElectraForSequenceClassification(FirstTokenHead, ElectraPreTrainedModel, trunk=ElectraModel):
    """Logits (batch, labels) for the whole text; one label regresses."""

    inner_activation = "gelu"


class ElectraForMultipleChoice(ChoiceHead, ElectraPreTrainedModel, trunk=ElectraModel):
    """Logits (batch, choices): which text is right."""

    dropout_names = ("summary_last_dropout",)

    def make_head(self, config: Any) -> None:
        """A layer over the first token, and one number."""
        if config.summary_type != "first" or not config.summary_use_proj:
            raise ConfigError(
                f"electra: summary_type '{config.summary_type}' is not supported; 'first' with summary_use_proj is."
            )
        super().make_head(config)
        self.sequence_summary = nn.ModuleDict({"summary": nn.Linear(config.hidden_size, config.hidden_size)})
        self.act = activation(config.summary_activation or "linear")

    def state(self, out: Any) -> torch.Tensor:
        """The first token through a layer."""
        return self.act(self.sequence_summary["summary"](out.last_hidden_state[:, 0]))


class ElectraForTokenClassification(TokenHead, ElectraPreTrainedModel, trunk=ElectraModel):
    """Logits (batch, tokens, labels)."""


class ElectraForQuestionAnswering(SpanHead, ElectraPreTrainedModel, trunk=ElectraModel):
    """Where in the text an answer begins and ends."""
