"""RoBERTa: BERT whose positions count from the padding's, with heads of its own. Liu et al. 2019."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.modeling.heads import ChoiceHead, FirstTokenHead, MaskedHead, SpanHead, TokenHead
from core.modeling.model import PreTrainedModel, default_positions
from core.models.bert import BertConfig, BertEmbeddings, BertModel


class RobertaConfig(BertConfig):
    """Keys and defaults of a roberta config.json."""

    model_type = "roberta"
    defaults = BertConfig.defaults | {"vocab_size": 50265, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


class RobertaEmbeddings(BertEmbeddings):
    """BERT's; padding stands at a place of its own, which is not trained."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size, config.pad_token_id)


class RobertaPreTrainedModel(PreTrainedModel):
    """What the RoBERTa classes share."""

    config_class = RobertaConfig
    base_model_prefix = "roberta"
    embeddings_name = "embeddings.word_embeddings"


class RobertaModel(RobertaPreTrainedModel, BertModel):
    """The encoder without a head."""

    def make_embeddings(self, config: Any) -> BertEmbeddings:
        """With a place for padding."""
        return RobertaEmbeddings(config)

    def place(self, input_ids: torch.Tensor | None, past: int, length: int, device: torch.device) -> torch.Tensor:
        """Tokens are counted from the padding's number on; padding stands at its own number."""
        pad = self.config.pad_token_id
        if input_ids is None:
            return default_positions(past + pad + 1, length, device)
        real = (input_ids != pad).long()
        return (real.cumsum(1) + past) * real + pad


class RobertaLMHead(nn.Module):
    """decoder(norm(gelu(dense x))); the weight of `decoder` is the word embeddings', its bias `bias`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return self.decoder(self.layer_norm(F.gelu(self.dense(x))))


class RobertaForMaskedLM(MaskedHead, RobertaPreTrainedModel, trunk=RobertaModel, add_pooling_layer=False):
    """Logits (batch, tokens, vocabulary) for the masked words."""

    output_name = "lm_head.decoder"

    def make_head(self, config: Any) -> None:
        """The prediction head."""
        self.lm_head = RobertaLMHead(config)

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """Logits over the vocabulary."""
        return self.lm_head(out.last_hidden_state)


class RobertaForSequenceClassification(FirstTokenHead, RobertaPreTrainedModel, trunk=RobertaModel, add_pooling_layer=False):
    """Logits (batch, labels) for the whole text; one label regresses."""


class RobertaForMultipleChoice(ChoiceHead, RobertaPreTrainedModel, trunk=RobertaModel):
    """Logits (batch, choices): which text is right."""

    dropout_names = ("hidden_dropout_prob",)


class RobertaForTokenClassification(TokenHead, RobertaPreTrainedModel, trunk=RobertaModel, add_pooling_layer=False):
    """Logits (batch, tokens, labels)."""


class RobertaForQuestionAnswering(SpanHead, RobertaPreTrainedModel, trunk=RobertaModel, add_pooling_layer=False):
    """Where in the text an answer begins and ends."""
