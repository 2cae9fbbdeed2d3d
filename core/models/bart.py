"""BART: post-norm encoder-decoder with learned positions, trained to restore spoilt text. Lewis et al. 2019.

Its relatives (mBART, Marian, Whisper) are these classes with other parts in them.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn

from core.modeling.attention import attend, encoder_pair, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.heads import SpanHead
from core.modeling.layers import ScaledEmbedding, activation
from core.modeling.masks import Mask
from core.modeling.model import resized
from core.modeling.outputs import Seq2SeqQuestionAnsweringModelOutput
from core.modeling.seq2seq import ConditionalHead, DecoderStack, EncoderDecoder, EncoderStack, LastEndHead, Seq2Seq, Stack
from core.modeling.taps import tap


class BartConfig(PreTrainedConfig):
    """Keys and defaults of a bart config.json."""

    model_type = "bart"
    attribute_map = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
        "initializer_range": "init_std",
    }
    defaults = {
        "vocab_size": 50265,
        "max_position_embeddings": 1024,
        "d_model": 1024,
        "encoder_layers": 12,
        "encoder_attention_heads": 16,
        "encoder_ffn_dim": 4096,
        "encoder_layerdrop": 0.0,
        "decoder_layers": 12,
        "decoder_attention_heads": 16,
        "decoder_ffn_dim": 4096,
        "decoder_layerdrop": 0.0,
        "activation_function": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "classifier_dropout": 0.0,
        "init_std": 0.02,
        "scale_embedding": False,
        "is_encoder_decoder": True,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
    }

    default_labels: ClassVar[int] = 3

    def __init__(self, **values: Any) -> None:
        if "id2label" not in values:
            values.setdefault("num_labels", self.default_labels)
        super().__init__(**values)


class BartAttention(nn.Module):
    """Self-attention, or attention to an encoder's states where they are given."""

    def __init__(self, config: Any, layer: int, heads: int, key_bias: bool, cross: bool = False) -> None:
        super().__init__()
        width = config.d_model
        self.layer, self.head_dim, self.dropout = layer, width // heads, config.attention_dropout
        self.prefix = "cross." if cross else ""
        self.k_proj, self.v_proj = nn.Linear(width, width, bias=key_bias), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def keys(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, tokens, width) -> k and v, each (batch, heads, tokens, head width)."""
        return split_heads(self.k_proj(x), self.head_dim), split_heads(self.v_proj(x), self.head_dim)

    def forward(self, x: torch.Tensor, mask: Mask, cache: Cache | None, encoded: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, tokens, width) -> the same; `encoded` (batch, source tokens, width)."""
        q = split_heads(self.q_proj(x), self.head_dim)
        if encoded is not None:
            k, v = encoder_pair(cache, self.layer, lambda: self.keys(encoded))
        else:
            k, v = self.keys(x)
            if cache is not None:
                k, v = cache.update(self.layer, k, v)
        z = attend(q, k, v, mask, layer=self.layer, dropout=self.dropout if self.training else 0.0, prefix=self.prefix)
        return merge_heads(z, self.out_proj, layer=self.layer, prefix=self.prefix)


class BartLayer(nn.Module):
    """Self-attention, in a decoder cross-attention, MLP; each with a residual and a norm after it (`pre_norm`: before it)."""

    pre_norm: ClassVar[bool] = False
    key_bias: ClassVar[bool] = True

    def __init__(self, config: Any, layer: int, decoder: bool) -> None:
        super().__init__()
        self.layer, width = layer, config.d_model
        heads = config.decoder_attention_heads if decoder else config.encoder_attention_heads
        inner = config.decoder_ffn_dim if decoder else config.encoder_ffn_dim
        self.self_attn, self.self_attn_layer_norm = BartAttention(config, layer, heads, self.key_bias), nn.LayerNorm(width)
        if decoder:
            self.encoder_attn = BartAttention(config, layer, heads, self.key_bias, cross=True)
            self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2, self.final_layer_norm = nn.Linear(width, inner), nn.Linear(inner, width), nn.LayerNorm(width)
        self.activation_fn = activation(config.activation_function)
        self.dropout, self.activation_dropout = nn.Dropout(config.dropout), nn.Dropout(config.activation_dropout)

    def feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        """fc2(act(fc1 x))."""
        inner = tap("mlp_act", self.layer, self.activation_fn(self.fc1(x)))
        return tap("mlp_out", self.layer, self.fc2(self.activation_dropout(inner)))

    def add(self, x: torch.Tensor, norm: nn.Module, part: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """norm(x + part x), or x + part(norm x)."""
        return x + self.dropout(part(norm(x))) if self.pre_norm else norm(x + self.dropout(part(x)))

    def forward(
        self,
        x: torch.Tensor,
        mask: Mask,
        cache: Cache | None = None,
        encoded: torch.Tensor | None = None,
        encoded_mask: Mask | None = None,
    ) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = self.add(x, self.self_attn_layer_norm, lambda x: self.self_attn(x, mask, cache))
        if encoded is not None:
            x = self.add(x, self.encoder_attn_layer_norm, lambda x: self.encoder_attn(x, encoded_mask, cache, encoded))
        x = tap("resid_mid", self.layer, x)
        return tap("resid_post", self.layer, self.add(x, self.final_layer_norm, self.feed_forward))


class BartPositions(nn.Embedding):
    """Learned positions; the first two rows belong to none."""

    offset: ClassVar[int] = 2

    def __init__(self, count: int, width: int) -> None:
        super().__init__(count + self.offset, width)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """(batch, tokens) -> (batch, tokens, width)."""
        return super().forward(positions + self.offset)


class BartPreTrainedModel(Seq2Seq):
    """What the BART classes share."""

    config_class = BartConfig
    base_model_prefix = "model"


class BartStack(Stack):
    """What encoder and decoder share; relatives name other parts."""

    block: ClassVar[type[BartLayer]] = BartLayer
    decoder: ClassVar[bool] = False
    norm_embedding: ClassVar[bool] = True
    norm_last: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        width, layers = config.d_model, config.decoder_layers if self.decoder else config.encoder_layers
        self.layerdrop = config.decoder_layerdrop if self.decoder else config.encoder_layerdrop
        self.longest = config.max_position_embeddings
        self.make_tables(config)
        self.layers = nn.ModuleList(self.block(config, layer, self.decoder) for layer in range(layers))
        if self.norm_embedding:
            self.layernorm_embedding = nn.LayerNorm(width)
        if self.norm_last:
            self.layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def make_tables(self, config: Any) -> None:
        """Token vectors and positions."""
        self.embed_tokens = token_table(config, config.vocab_size)
        self.embed_positions: nn.Embedding = BartPositions(config.max_position_embeddings, config.d_model)

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """norm(word + position)."""
        x = words + self.embed_positions(positions)
        return self.dropout(self.layernorm_embedding(x) if self.norm_embedding else x)


def token_table(config: Any, rows: int) -> nn.Embedding:
    """A table of token vectors, scaled where the configuration says so."""
    scale = config.d_model**0.5 if config.scale_embedding else 1.0
    return ScaledEmbedding(rows, config.d_model, config.pad_token_id, scale)


class BartEncoder(BartStack, EncoderStack, BartPreTrainedModel):
    """The stack that reads."""


class BartDecoder(BartStack, DecoderStack, BartPreTrainedModel):
    """The stack that writes."""

    decoder = True


class BartModel(EncoderDecoder, BartPreTrainedModel):
    """Encoder and decoder without a head; where the decoder is given nothing it reads the source, shifted to the right."""

    stacks: ClassVar[tuple[type[EncoderStack], type[DecoderStack]]] = (BartEncoder, BartDecoder)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if getattr(config, "share_encoder_decoder_embeddings", True):
            self.shared = token_table(config, config.vocab_size)
        self.encoder, self.decoder = self.stacks[0](config), self.stacks[1](config)
        self.post_init()

    def default_target(self, input_ids: torch.Tensor | None) -> torch.Tensor:
        """The source, shifted to the right."""
        return super().default_target(input_ids) if input_ids is None else self.shift_right(input_ids)


class BiasedConditionalHead(ConditionalHead):
    """Logits to which a constant is added, `final_logits_bias` (1, vocabulary); zero where a checkpoint has none."""

    def make_head(self, config: Any) -> None:
        """The layer and the constant."""
        super().make_head(config)
        self.final_logits_bias = nn.Buffer(torch.zeros(1, self.get_decoder().embed_tokens.num_embeddings))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return super().logits(hidden) + self.final_logits_bias

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """The constant of new tokens is zero."""
        table = super().resize_token_embeddings(*args, **kwargs)
        self.final_logits_bias = resized(self.final_logits_bias.T, table.num_embeddings, 0.0).T.contiguous()
        return table


class BartForConditionalGeneration(BiasedConditionalHead, BartPreTrainedModel, trunk=BartModel):
    """With a layer that predicts the next token."""


class BartForSequenceClassification(LastEndHead, BartPreTrainedModel, trunk=BartModel):
    """A label for the whole text."""


class BartForQuestionAnswering(SpanHead, BartPreTrainedModel, trunk=BartModel):
    """Where in the text an answer begins and ends."""

    output = Seq2SeqQuestionAnsweringModelOutput
