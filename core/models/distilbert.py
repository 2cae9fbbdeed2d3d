"""DistilBERT: BERT with half the layers, no segments and no pooler. Sanh et al. 2019."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.configuration import PreTrainedConfig
from core.modeling.encoder import Encoder
from core.modeling.heads import ChoiceHead, MaskedHead, PooledHead, SpanHead, TokenHead
from core.modeling.layers import activation
from core.modeling.masks import Mask
from core.modeling.model import PreTrainedModel
from core.modeling.taps import tap

EPS = 1e-12


class DistilBertConfig(PreTrainedConfig):
    """Keys and defaults of a distilbert config.json."""

    model_type = "distilbert"
    attribute_map = {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}
    defaults = {
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "sinusoidal_pos_embds": False,
        "n_layers": 6,
        "n_heads": 12,
        "dim": 768,
        "hidden_dim": 3072,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation": "gelu",
        "initializer_range": 0.02,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "pad_token_id": 0,
    }

    def check(self) -> None:
        """Heads must divide evenly."""
        if self.dim % self.n_heads:
            raise ConfigError(f"dim {self.dim} is no multiple of n_heads {self.n_heads}.")


class DistilBertEmbeddings(nn.Module):
    """norm(word + position)."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.dim, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.dim)
        self.LayerNorm = nn.LayerNorm(config.dim, EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """words (batch, tokens, width), positions (batch or 1, tokens)."""
        return self.dropout(self.LayerNorm(words + self.position_embeddings(positions)))


class DistilBertSelfAttention(nn.Module):
    """Every token reads every token."""

    def __init__(self, config: DistilBertConfig, layer: int) -> None:
        super().__init__()
        width = config.dim
        self.layer, self.head_dim, self.dropout = layer, width // config.n_heads, config.attention_dropout
        self.q_lin, self.k_lin, self.v_lin = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out_lin = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.q_lin, self.k_lin, self.v_lin))
        z = attend(q, k, v, mask, layer=self.layer, dropout=self.dropout if self.training else 0.0)
        return merge_heads(z, self.out_lin, layer=self.layer)


class DistilBertFFN(nn.Module):
    """lin2(act(lin1 x))."""

    def __init__(self, config: DistilBertConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.lin1, self.lin2 = nn.Linear(config.dim, config.hidden_dim), nn.Linear(config.hidden_dim, config.dim)
        self.act, self.dropout = activation(config.activation), nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.dropout(self.lin2(tap("mlp_act", self.layer, self.act(self.lin1(x)))))


class DistilBertBlock(nn.Module):
    """Attention, then MLP, a norm after each."""

    def __init__(self, config: DistilBertConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention = DistilBertSelfAttention(config, layer)
        self.sa_layer_norm = nn.LayerNorm(config.dim, EPS)
        self.ffn = DistilBertFFN(config, layer)
        self.output_layer_norm = nn.LayerNorm(config.dim, EPS)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = tap("resid_mid", self.layer, self.sa_layer_norm(x + self.attention(x, mask)))
        return tap("resid_post", self.layer, self.output_layer_norm(x + tap("mlp_out", self.layer, self.ffn(x))))


class DistilBertTransformer(nn.Module):
    """The stack of layers."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(DistilBertBlock(config, layer) for layer in range(config.n_layers))


class DistilBertPreTrainedModel(PreTrainedModel):
    """What the DistilBERT classes share."""

    config_class = DistilBertConfig
    base_model_prefix = "distilbert"
    embeddings_name = "embeddings.word_embeddings"


class DistilBertModel(Encoder, DistilBertPreTrainedModel):
    """The encoder without a head."""

    blocks_name = "transformer.layer"

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.embeddings = DistilBertEmbeddings(config)
        self.transformer = DistilBertTransformer(config)
        self.post_init()

    def embed(self, words: torch.Tensor, segments: Any, positions: torch.Tensor, attention_mask: Any) -> torch.Tensor:
        """norm(word + position); there are no segments."""
        return self.embeddings(words, positions)


class DistilBertForMaskedLM(MaskedHead, DistilBertPreTrainedModel, trunk=DistilBertModel):
    """Logits (batch, tokens, vocabulary) for the masked words."""

    output_name = "vocab_projector"

    def make_head(self, config: DistilBertConfig) -> None:
        """A layer with a norm, and one over the vocabulary."""
        self.vocab_transform = nn.Linear(config.dim, config.dim)
        self.vocab_layer_norm = nn.LayerNorm(config.dim, EPS)
        self.vocab_projector = nn.Linear(config.dim, config.vocab_size)
        self.act = activation(config.activation)

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """Logits over the vocabulary."""
        return self.vocab_projector(self.vocab_layer_norm(self.act(self.vocab_transform(out.last_hidden_state))))


class PreClassifier(PooledHead):
    """Of the whole text relu(pre_classifier) of the first token is classified."""

    dropout_names = ("seq_classif_dropout",)

    def make_head(self, config: DistilBertConfig) -> None:
        """One more layer."""
        super().make_head(config)
        self.pre_classifier = nn.Linear(config.dim, config.dim)

    def state(self, out: Any) -> torch.Tensor:
        """(batch, width)."""
        return F.relu(self.pre_classifier(out.last_hidden_state[:, 0]))


class DistilBertForSequenceClassification(PreClassifier, DistilBertPreTrainedModel, trunk=DistilBertModel):
    """Logits (batch, labels) for the whole text; one label regresses."""


class DistilBertForMultipleChoice(PreClassifier, ChoiceHead, DistilBertPreTrainedModel, trunk=DistilBertModel):
    """Logits (batch, choices): which text is right."""


class DistilBertForTokenClassification(TokenHead, DistilBertPreTrainedModel, trunk=DistilBertModel):
    """Logits (batch, tokens, labels)."""

    dropout_names = ("dropout",)


class DistilBertForQuestionAnswering(SpanHead, DistilBertPreTrainedModel, trunk=DistilBertModel):
    """Where in the text an answer begins and ends."""
