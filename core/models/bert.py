"""BERT: post-norm encoder with learned positions and two segments. Devlin et al. 2018."""

from typing import Any

import torch
from torch import nn

from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.configuration import PreTrainedConfig
from core.modeling.encoder import Encoder
from core.modeling.heads import MaskedHead, PooledHead, SpanHead, TokenHead
from core.modeling.layers import activation
from core.modeling.masks import Mask
from core.modeling.model import PreTrainedModel, default_positions
from core.modeling.outputs import BaseModelOutputWithPooling
from core.modeling.taps import tap


class BertConfig(PreTrainedConfig):
    """Keys and defaults of a bert config.json."""

    model_type = "bert"
    defaults = {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "classifier_dropout": None,
    }


class BertEmbeddings(nn.Module):
    """norm(word + position + segment)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, words: torch.Tensor, segments: torch.Tensor | None, positions: torch.Tensor | None) -> torch.Tensor:
        """words (batch, tokens, width); segments and positions (batch, tokens)."""
        if positions is None:
            positions = default_positions(0, words.shape[1], words.device)
        if segments is None:
            segments = torch.zeros_like(positions)
        x = words + self.token_type_embeddings(segments) + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(x))


class BertSelfAttention(nn.Module):
    """Every token reads every token."""

    def __init__(self, config: BertConfig, layer: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer, self.head_dim = layer, width // config.num_attention_heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> z (batch, tokens, heads, head width)."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.query, self.key, self.value))
        return attend(q, k, v, mask, layer=self.layer, dropout=self.dropout.p if self.training else 0.0)


class BertResidual(nn.Module):
    """norm(residual + dropout(dense x)), after attention and after the MLP."""

    def __init__(self, config: BertConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, projected: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """`projected` is what `dense` gave."""
        return self.LayerNorm(residual + self.dropout(projected))


class BertAttention(nn.Module):
    """Self-attention with its residual."""

    def __init__(self, config: BertConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.self = BertSelfAttention(config, layer)
        self.output = BertResidual(config, config.hidden_size)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.output(merge_heads(self.self(x, mask), self.output.dense, layer=self.layer), x)


class BertIntermediate(nn.Module):
    """act(dense x)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, intermediate width)."""
        return self.act(self.dense(x))


class BertLayer(nn.Module):
    """Attention, then MLP, a norm after each."""

    def __init__(self, config: BertConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention = BertAttention(config, layer)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config, config.intermediate_size)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_mid", self.layer, self.attention(tap("resid_pre", self.layer, x), mask))
        inner = tap("mlp_act", self.layer, self.intermediate(x))
        return tap("resid_post", self.layer, self.output(tap("mlp_out", self.layer, self.output.dense(inner)), x))


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config, layer) for layer in range(config.num_hidden_layers))


class BertPooler(nn.Module):
    """tanh(dense) of the first token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, width)."""
        return torch.tanh(self.dense(x[:, 0]))


class BertPreTrainedModel(PreTrainedModel):
    """What the BERT classes share."""

    config_class = BertConfig
    base_model_prefix = "bert"
    embeddings_name = "embeddings.word_embeddings"


class BertModel(Encoder, BertPreTrainedModel):
    """The encoder without a head."""

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def embed(
        self, words: torch.Tensor, input_ids: Any, token_type_ids: Any, position_ids: Any, attention_mask: Any
    ) -> torch.Tensor:
        """norm(word + position + segment)."""
        return self.embeddings(words, token_type_ids, position_ids)


class BertPredictionHeadTransform(nn.Module):
    """norm(act(dense x))."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = activation(config.hidden_act)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.LayerNorm(self.act(self.dense(x)))


class BertLMPredictionHead(nn.Module):
    """Logits over the vocabulary; the weight is the word embeddings', the bias its own."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return self.decoder(self.transform(x))


class BertOnlyMLMHead(nn.Module):
    """The name under which checkpoints keep the head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.predictions = BertLMPredictionHead(config)


class BertForMaskedLM(MaskedHead, BertPreTrainedModel, trunk=BertModel, add_pooling_layer=False):
    """Logits (batch, tokens, vocabulary) for the masked words."""

    output_name = "cls.predictions.decoder"
    _tied_weights_keys = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def make_head(self, config: BertConfig) -> None:
        """The prediction head."""
        self.cls = BertOnlyMLMHead(config)

    def head(self, out: BaseModelOutputWithPooling, given: dict[str, Any]) -> torch.Tensor:
        """Logits over the vocabulary."""
        return self.cls.predictions(out.last_hidden_state)


class BertForSequenceClassification(PooledHead, BertPreTrainedModel, trunk=BertModel):
    """Logits (batch, labels) for the whole text; one label regresses."""


class BertForTokenClassification(TokenHead, BertPreTrainedModel, trunk=BertModel, add_pooling_layer=False):
    """Logits (batch, tokens, labels)."""


class BertForQuestionAnswering(SpanHead, BertPreTrainedModel, trunk=BertModel, add_pooling_layer=False):
    """Where in the text an answer begins and ends."""
