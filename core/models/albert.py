"""ALBERT: BERT with narrow word vectors and layers that share their weights. Lan et al. 2019."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.encoder import Encoder
from core.modeling.heads import ChoiceHead, MaskedHead, PooledHead, SpanHead, TokenHead
from core.modeling.layers import activation
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel
from core.modeling.taps import tap
from core.models.bert import BertConfig, BertEmbeddings, BertPredictionHeadTransform


class AlbertConfig(BertConfig):
    """Keys and defaults of an albert config.json. `num_hidden_groups` sets of weights serve `num_hidden_layers` layers, each of
    `inner_group_num` times attention and MLP."""

    model_type = "albert"
    defaults = BertConfig.defaults | {
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_hidden_groups": 1,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "inner_group_num": 1,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout_prob": 0.1,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }

    def check(self) -> None:
        """BERT's, as far as its layers go."""
        super().check()
        if self.position_embedding_type != "absolute" or self.is_decoder:
            raise ConfigError("albert is supported as an encoder with absolute positions only.")


class AlbertAttention(nn.Module):
    """Self-attention with its residual, of whichever layer it serves."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.head_dim, self.dropout = width // config.num_attention_heads, config.attention_probs_dropout_prob
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)
        self.output_dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: torch.Tensor, mask: Mask, layer: int) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.query, self.key, self.value))
        z = attend(q, k, v, mask, layer=layer, dropout=self.dropout if self.training else 0.0)
        return self.LayerNorm(x + self.output_dropout(merge_heads(z, self.dense, layer=layer)))


class AlbertLayer(nn.Module):
    """Attention, then MLP, a norm after each."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = AlbertAttention(config)
        self.ffn = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.full_layer_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor, mask: Mask, layer: int) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_mid", layer, self.attention(tap("resid_pre", layer, x), mask, layer))
        out = tap("mlp_out", layer, self.ffn_output(tap("mlp_act", layer, self.act(self.ffn(x)))))
        return tap("resid_post", layer, self.full_layer_layer_norm(x + out))


class AlbertLayerGroup(nn.Module):
    """One set of weights."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.albert_layers = nn.ModuleList(AlbertLayer(config) for _ in range(config.inner_group_num))


class AlbertTransformer(nn.Module):
    """The layer that widens the word vectors, and the sets of weights."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embedding_hidden_mapping_in = nn.Linear(config.embedding_size, config.hidden_size)
        self.albert_layer_groups = nn.ModuleList(AlbertLayerGroup(config) for _ in range(config.num_hidden_groups))


class AlbertPreTrainedModel(PreTrainedModel):
    """What the ALBERT classes share."""

    config_class = AlbertConfig
    base_model_prefix = "albert"
    embeddings_name = "embeddings.word_embeddings"


class AlbertModel(Encoder, AlbertPreTrainedModel):
    """The encoder without a head. With inner groups each of their parts counts as a layer of its own."""

    def __init__(self, config: Any, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config, config.embedding_size)
        self.encoder = AlbertTransformer(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if add_pooling_layer else None
        self.post_init()

    def embed(self, words: torch.Tensor, segments: Any, positions: torch.Tensor, attention_mask: Any) -> torch.Tensor:
        """BERT's, widened."""
        return self.encoder.embedding_hidden_mapping_in(self.embeddings(words, segments, positions))

    def blocks(self) -> Iterable[nn.Module]:
        """The weights of each layer; neighbouring layers share theirs."""
        layers, groups = self.config.num_hidden_layers, self.encoder.albert_layer_groups
        for layer in range(layers):
            yield from groups[layer * len(groups) // layers].albert_layers  # type: ignore[misc]

    def context(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> Callable[[int], tuple[Any, ...]]:
        """Mask, and which layer it is."""
        mask = make_mask(attention_mask, x, x.shape[1], causal=False)
        return lambda layer: (mask, layer)

    def run(self, x: torch.Tensor, context: Any, head_mask: torch.Tensor | None, *options: Any) -> Any:
        """A layer's head mask is that of each of its parts."""
        if head_mask is not None and head_mask.dim() > 1:
            head_mask = head_mask.repeat_interleave(self.config.inner_group_num, 0)
        return super().run(x, context, head_mask, *options)

    def pool(self, x: torch.Tensor) -> torch.Tensor | None:
        """tanh(pooler) of the first token."""
        return None if self.pooler is None else torch.tanh(self.pooler(x[:, 0]))


class AlbertMLMHead(BertPredictionHeadTransform):
    """decoder(norm(act(dense x))); the weight of `decoder` is the word embeddings', its bias `bias`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, config.embedding_size, config.hidden_act)
        self.decoder = nn.Linear(config.embedding_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return self.decoder(super().forward(x))


class AlbertForMaskedLM(MaskedHead, AlbertPreTrainedModel, trunk=AlbertModel, add_pooling_layer=False):
    """Logits (batch, tokens, vocabulary) for the masked words."""

    output_name = "predictions.decoder"

    def make_head(self, config: Any) -> None:
        """The prediction head."""
        self.predictions = AlbertMLMHead(config)

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """Logits over the vocabulary."""
        return self.predictions(out.last_hidden_state)


class AlbertForSequenceClassification(PooledHead, AlbertPreTrainedModel, trunk=AlbertModel):
    """Logits (batch, labels) for the whole text; one label regresses."""

    dropout_names = ("classifier_dropout_prob",)


class AlbertForMultipleChoice(ChoiceHead, AlbertPreTrainedModel, trunk=AlbertModel):
    """Logits (batch, choices): which text is right."""

    dropout_names = ("classifier_dropout_prob",)


class AlbertForTokenClassification(TokenHead, AlbertPreTrainedModel, trunk=AlbertModel, add_pooling_layer=False):
    """Logits (batch, tokens, labels)."""

    dropout_names = ("classifier_dropout_prob", "hidden_dropout_prob")


class AlbertForQuestionAnswering(SpanHead, AlbertPreTrainedModel, trunk=AlbertModel, add_pooling_layer=False):
    """Where in the text an answer begins and ends."""
