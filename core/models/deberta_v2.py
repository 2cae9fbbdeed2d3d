"""DeBERTa v2 and v3: BERT whose scores also pair what a token says with how far another stands. He et al. 2020, 3.1; 2021."""

from collections.abc import Callable
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
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel
from core.modeling.positions import distances, read_distances
from core.modeling.taps import tap
from core.models.bert import BertHeads, BertIntermediate, BertPredictionHeadTransform, BertResidual


class DebertaV2Config(PreTrainedConfig):
    """Keys and defaults of a deberta-v2 config.json."""

    model_type = "deberta-v2"
    defaults = {
        "vocab_size": 128100,
        "hidden_size": 1536,
        "embedding_size": None,
        "num_hidden_layers": 24,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 0,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-7,
        "relative_attention": False,
        "max_relative_positions": -1,
        "position_buckets": -1,
        "position_biased_input": True,
        "pos_att_type": None,
        "share_att_key": False,
        "norm_rel_ebd": "none",
        "conv_kernel_size": 0,
        "conv_groups": 1,
        "conv_act": "tanh",
        "pad_token_id": 0,
        "pooler_hidden_size": None,
        "pooler_dropout": 0.0,
        "pooler_hidden_act": "gelu",
        "cls_dropout": None,
        "legacy": True,
    }

    def check(self) -> None:
        """Fill what follows from other keys; heads must divide evenly."""
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(f"hidden_size {self.hidden_size} is no multiple of num_attention_heads {self.num_attention_heads}.")
        self.embedding_size = self.embedding_size or self.hidden_size
        self.pooler_hidden_size = self.pooler_hidden_size or self.hidden_size
        if isinstance(self.pos_att_type, str):  # "p2c|c2p", as older files have it
            self.pos_att_type = [kind.strip() for kind in self.pos_att_type.lower().split("|")]

    @property
    def reach(self) -> int:
        """From how many tokens on all distances are alike."""
        return self.max_relative_positions if self.max_relative_positions > 0 else self.max_position_embeddings

    @property
    def span(self) -> int:
        """How many vectors of distances there are on each side."""
        return self.position_buckets if self.position_buckets > 0 else self.reach


def buckets(distance: torch.Tensor, count: int, reach: int) -> torch.Tensor:
    """Distances as they are up to half of `count`, beyond in steps that grow, so that `reach` comes to `count`. He et al. 2021."""
    half = count // 2
    far = distance.abs().clamp(min=half).float()
    steps = (far / half).log() / torch.tensor((reach - 1) / half).log() * (half - 1)
    return torch.where(distance.abs() <= half, distance, (steps.ceil().long() + half) * distance.sign())


class DebertaV2Embeddings(nn.Module):
    """norm(word + position + segment), without the parts that the configuration leaves out; padding is zero."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        width = config.embedding_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        positions, segments = config.max_position_embeddings, config.type_vocab_size
        self.position_embeddings = nn.Embedding(positions, width) if config.position_biased_input else None
        self.token_type_embeddings = nn.Embedding(segments, width) if segments else None
        self.embed_proj = nn.Linear(width, config.hidden_size, bias=False) if width != config.hidden_size else None
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, x: torch.Tensor, segments: torch.Tensor | None, positions: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """x (batch, tokens, width of the words); segments, positions and real (batch, tokens) -> (batch, tokens, width)."""
        if self.position_embeddings is not None:
            x = x + self.position_embeddings(positions)
        if self.token_type_embeddings is not None:
            x = x + self.token_type_embeddings(torch.zeros_like(positions) if segments is None else segments)
        if self.embed_proj is not None:
            x = self.embed_proj(x)
        return self.dropout(self.LayerNorm(x) * real[..., None])


class DisentangledSelfAttention(nn.Module):
    """Scores of content with content, of content with position (c2p) and of position with content (p2c)."""

    def __init__(self, config: DebertaV2Config, layer: int) -> None:
        super().__init__()
        width, kinds = config.hidden_size, config.pos_att_type or []
        self.layer, self.head_dim = layer, width // config.num_attention_heads
        self.c2p, self.p2c = "c2p" in kinds, "p2c" in kinds
        self.scale = (self.head_dim * (1 + self.c2p + self.p2c)) ** -0.5
        self.query_proj, self.key_proj, self.value_proj = (nn.Linear(width, width) for _ in range(3))
        self.own_projections = config.relative_attention and not config.share_att_key
        if self.own_projections and self.c2p:
            self.pos_key_proj = nn.Linear(width, width)
        if self.own_projections and self.p2c:
            self.pos_query_proj = nn.Linear(width, width)
        self.dropout, self.pos_dropout = config.attention_probs_dropout_prob, nn.Dropout(config.hidden_dropout_prob)

    def position_bias(self, q: torch.Tensor, k: torch.Tensor, table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(batch, heads, q, k). table (distances, width); rows (q, k) says which distance stands between two tokens."""
        table = self.pos_dropout(table)[None]
        bias = q.new_zeros(())
        if self.c2p:
            key_proj = self.pos_key_proj if self.own_projections else self.key_proj
            bias = bias + read_distances(q, split_heads(key_proj(table), self.head_dim)[0], rows)
        if self.p2c:
            query_proj = self.pos_query_proj if self.own_projections else self.query_proj
            bias = bias + read_distances(k, split_heads(query_proj(table), self.head_dim)[0], rows.T).transpose(-1, -2)
        return bias * self.scale

    def forward(
        self, x: torch.Tensor, mask: Mask, real: torch.Tensor, table: torch.Tensor | None, rows: torch.Tensor
    ) -> torch.Tensor:
        """(batch, tokens, width) -> z (batch, tokens, heads, head width)."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.query_proj, self.key_proj, self.value_proj))
        q = q * real[:, None, :, None]  # padding asks for nothing: it reads all alike, and teaches q and k nothing
        bias = None if table is None else lambda q, k: self.position_bias(q, k, table, rows)
        dropout = self.dropout if self.training else 0.0
        return attend(q, k, v, mask, layer=self.layer, scale=self.scale, bias=bias, dropout=dropout)


class DebertaV2Attention(nn.Module):
    """Self-attention with its residual."""

    def __init__(self, config: DebertaV2Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.self = DisentangledSelfAttention(config, layer)
        self.output = BertResidual(config, config.hidden_size)

    def forward(self, x: torch.Tensor, *read: Any) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.output(merge_heads(self.self(x, *read), self.output.dense, layer=self.layer), x)


class DebertaV2Layer(nn.Module):
    """Attention, then MLP, a norm after each; the first layer may read its neighbours by a convolution too."""

    def __init__(self, config: DebertaV2Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention = DebertaV2Attention(config, layer)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config, config.intermediate_size)

    def forward(
        self,
        x: torch.Tensor,
        read: tuple[Any, ...],
        neighbours: Callable[[torch.Tensor], torch.Tensor] | None,
    ) -> torch.Tensor:
        """(batch, tokens, width) -> the same; `read` is what DisentangledSelfAttention takes besides."""
        x = tap("resid_mid", self.layer, self.attention(tap("resid_pre", self.layer, x), *read))
        inner = tap("mlp_act", self.layer, self.intermediate(x))
        x = self.output(tap("mlp_out", self.layer, self.output.dense(inner)), x)
        return tap("resid_post", self.layer, x if neighbours is None else neighbours(x))


class ConvLayer(nn.Module):
    """norm(x + act(convolution of the embedded text)); padding is zero."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        width, size = config.hidden_size, config.conv_kernel_size
        self.conv = nn.Conv1d(width, width, size, padding=(size - 1) // 2, groups=config.conv_groups)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.act = activation(config.conv_act)

    def forward(self, embedded: torch.Tensor, x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """embedded and x (batch, tokens, width), real (batch, tokens)."""
        out = self.conv(embedded.transpose(1, 2)).transpose(1, 2) * real[..., None]
        return self.LayerNorm(x + self.act(self.dropout(out))) * real[..., None]


class DebertaV2Encoder(nn.Module):
    """The stack of layers, and the vectors of distances that all of them read."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        self.layer = nn.ModuleList(DebertaV2Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.rel_embeddings = nn.Embedding(2 * config.span, config.hidden_size) if config.relative_attention else None
        normed = "layer_norm" in config.norm_rel_ebd.lower()
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps) if normed else None
        self.conv = ConvLayer(config) if config.conv_kernel_size > 0 else None

    def distance_table(self) -> torch.Tensor | None:
        """(2 * span, width); None where positions are absolute."""
        if self.rel_embeddings is None:
            return None
        return self.rel_embeddings.weight if self.LayerNorm is None else self.LayerNorm(self.rel_embeddings.weight)


class DebertaV2PreTrainedModel(PreTrainedModel):
    """What the DeBERTa classes share."""

    config_class = DebertaV2Config
    base_model_prefix = "deberta"
    embeddings_name = "embeddings.word_embeddings"


class DebertaV2Model(Encoder, DebertaV2PreTrainedModel):
    """The encoder without a head."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.embeddings = DebertaV2Embeddings(config)
        self.encoder = DebertaV2Encoder(config)
        self.post_init()

    def embed(
        self, words: torch.Tensor, segments: Any, positions: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """norm(word + position + segment)."""
        return self.embeddings(words, segments, positions, real_tokens(words, attention_mask))

    def context(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> Callable[[int], tuple[Any, ...]]:
        """Mask, vectors of distances, which of them stands between two tokens, and the first layer's convolution."""
        config, encoder, length = self.config, self.encoder, x.shape[1]
        real = real_tokens(x, attention_mask)
        pairs = None if attention_mask is None else (real[:, None, :, None] * real[:, None, None, :]).bool()
        mask = make_mask(pairs, x, length, causal=False)
        apart = distances(length, length, x.device)
        if config.position_buckets > 0:
            apart = buckets(apart, config.position_buckets, config.reach)
        rows = (apart + config.span).clamp(0, 2 * config.span - 1)
        read = (mask, real, encoder.distance_table(), rows)
        convolve = None if (conv := encoder.conv) is None else lambda out: conv(x, out, real)
        return lambda layer: (read, None if layer else convolve)


def real_tokens(x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """(batch, tokens) in the dtype of x: 1 for a token, 0 for padding."""
    return x.new_ones(x.shape[:2]) if attention_mask is None else (attention_mask != 0).to(x.dtype)


class DebertaV2LMPredictionHead(BertPredictionHeadTransform):
    """norm(act(dense x)), to be multiplied with the word embeddings, and a bias."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config, config.hidden_size, config.hidden_act)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))


class DebertaV2LMPredictions(nn.Module):
    """The name under which checkpoints keep that head."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        self.lm_head = DebertaV2LMPredictionHead(config)


class DebertaV2ForMaskedLM(MaskedHead, DebertaV2PreTrainedModel, trunk=DebertaV2Model):
    """Logits (batch, tokens, vocabulary) for the masked words: BERT's head where `legacy`, else that of the original."""

    output_name = "cls.predictions.decoder"

    def make_head(self, config: DebertaV2Config) -> None:
        """One of two prediction heads."""
        if config.legacy:
            self.cls = BertHeads(config, config.embedding_size)
        else:
            self.lm_predictions = DebertaV2LMPredictions(config)
            self.output_name, self._tied_weights_keys = "lm_predictions.lm_head", {}  # type: ignore[misc]

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """Logits over the vocabulary."""
        if self.config.legacy:
            return self.cls.predictions(out.last_hidden_state)
        head = self.lm_predictions.lm_head
        return F.linear(head(out.last_hidden_state), self.get_input_embeddings().weight, head.bias)


class ContextPooler(nn.Module):
    """act(dense) of the first token."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.pooler_hidden_size, config.pooler_hidden_size)
        self.act, self.dropout = activation(config.pooler_hidden_act), nn.Dropout(config.pooler_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, width)."""
        return self.act(self.dense(self.dropout(x[:, 0])))


class PooledInHead(PooledHead):
    """The pooler belongs to the head."""

    dropout_names = ("cls_dropout", "hidden_dropout_prob")

    def make_head(self, config: DebertaV2Config) -> None:
        """Pooler, dropout, one layer."""
        super().make_head(config)
        self.pooler = ContextPooler(config)

    def state(self, out: Any) -> torch.Tensor:
        """(batch, width)."""
        return self.pooler(out.last_hidden_state)


class DebertaV2ForSequenceClassification(PooledInHead, DebertaV2PreTrainedModel, trunk=DebertaV2Model):
    """Logits (batch, labels) for the whole text; one label regresses."""


class DebertaV2ForMultipleChoice(PooledInHead, ChoiceHead, DebertaV2PreTrainedModel, trunk=DebertaV2Model):
    """Logits (batch, choices): which text is right."""


class DebertaV2ForTokenClassification(TokenHead, DebertaV2PreTrainedModel, trunk=DebertaV2Model):
    """Logits (batch, tokens, labels)."""


class DebertaV2ForQuestionAnswering(SpanHead, DebertaV2PreTrainedModel, trunk=DebertaV2Model):
    """Where in the text an answer begins and ends."""
