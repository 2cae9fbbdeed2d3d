"""BLOOM: no positions but a bias that grows with distance (ALiBi), and a norm of the token vectors. Le Scao et al. 2022."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.decoder import Decoder
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import activation
from core.modeling.masks import Mask, make_mask, whole_mask
from core.modeling.model import PreTrainedModel, default_positions
from core.modeling.positions import alibi_slopes
from core.modeling.taps import tap


class BloomConfig(PreTrainedConfig):
    """Keys and defaults of a bloom config.json."""

    model_type = "bloom"
    attribute_map = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "n_embed": "hidden_size"}
    defaults = {
        "vocab_size": 250880,
        "hidden_size": 64,
        "n_layer": 2,
        "n_head": 8,
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "apply_residual_connection_post_layernorm": False,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


class BloomAttention(nn.Module):
    """Self-attention with one projection for q, k and v, head by head."""

    def __init__(self, config: BloomConfig, layer: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer, self.head_dim, self.dropout = layer, width // config.n_head, config.attention_dropout
        self.query_key_value, self.dense = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = split_heads(self.query_key_value(x), 3 * self.head_dim).chunk(3, -1)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        z = attend(q, k, v, mask, layer=self.layer, dropout=self.dropout if self.training else 0.0)
        return merge_heads(z, self.dense, layer=self.layer)


class BloomMLP(nn.Module):
    """dense_4h_to_h(gelu(dense_h_to_4h x))."""

    def __init__(self, config: BloomConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 4 * config.hidden_size)
        self.dense_4h_to_h = nn.Linear(4 * config.hidden_size, config.hidden_size)
        self.act = activation("gelu_pytorch_tanh")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return tap("mlp_out", self.layer, self.dense_4h_to_h(tap("mlp_act", self.layer, self.act(self.dense_h_to_4h(x)))))


class BloomBlock(nn.Module):
    """x + attention(norm x), then x + mlp(norm x); with `apply_residual_connection_post_layernorm` the norm of x is what is added to."""

    def __init__(self, config: BloomConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.from_norm = layer, config.apply_residual_connection_post_layernorm
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.self_attention = BloomAttention(config, layer)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = BloomMLP(config, layer)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        normed = self.input_layernorm(x)
        x = (normed if self.from_norm else x) + self.dropout(self.self_attention(normed, mask, cache))
        x = tap("resid_mid", self.layer, x)
        normed = self.post_attention_layernorm(x)
        return tap("resid_post", self.layer, (normed if self.from_norm else x) + self.dropout(self.mlp(normed)))


class BloomPreTrainedModel(PreTrainedModel):
    """What the BLOOM classes share."""

    config_class = BloomConfig
    base_model_prefix = "transformer"
    embeddings_name = "word_embeddings"


class BloomModel(Decoder, BloomPreTrainedModel):
    """The decoder without a head."""

    blocks_name, norm_name = "h", "ln_f"

    def __init__(self, config: BloomConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.word_embeddings_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.h = nn.ModuleList(BloomBlock(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.post_init()

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same; positions are not read."""
        return self.word_embeddings_layernorm(words)

    def context(
        self, x: torch.Tensor, positions: torch.Tensor, attention_mask: torch.Tensor | None, keys: int
    ) -> Callable[[int], tuple[Any, ...]]:
        """The mask with ALiBi on top: a key's place among the real tokens times the head's slope. Distances to a query's own place
        differ from it by a constant, which the softmax does not see."""
        places = default_positions(0, keys, x.device)
        if attention_mask is not None and attention_mask.dim() == 2:
            places = whole_mask(attention_mask, keys).cumsum(1)
        bias = alibi_slopes(self.config.n_head).to(x)[:, None, None] * places[:, None, None].to(x)
        mask = make_mask(attention_mask, x, keys, causal=True).plus(bias.expand(-1, -1, x.shape[1], -1))
        return lambda layer: (mask,)


class BloomForCausalLM(CausalLMHead, BloomPreTrainedModel, trunk=BloomModel):
    """The decoder with a layer that predicts the next token."""


class BloomForSequenceClassification(LastTokenHead, BloomPreTrainedModel, trunk=BloomModel):
    """The decoder with a label for the whole text."""


class BloomForTokenClassification(TokenHead, BloomPreTrainedModel, trunk=BloomModel):
    """The decoder with a label for each token."""
