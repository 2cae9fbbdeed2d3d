"""LLaMA: pre-norm decoder with rotary positions, grouped queries and a gated MLP. Touvron et al. 2023.

Its relatives (Mistral, Qwen, Gemma …) are these classes with other parts in them: a layer names the classes of its parts, and a
configuration may say which layers slide a window over the text (`layer_types`, `sliding_window`).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.decoder import Decoder
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import RMSNorm, activation
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel
from core.modeling.positions import Rope, rope_settings, rotate
from core.modeling.taps import tap

FULL, SLIDING = "full_attention", "sliding_attention"
Turn = tuple[torch.Tensor, torch.Tensor]


class LlamaConfig(PreTrainedConfig):
    """Keys and defaults of a llama config.json."""

    model_type = "llama"
    defaults = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }

    def check(self) -> None:
        """Fill what follows from other keys; heads must divide evenly."""
        self.num_key_value_heads = self.num_key_value_heads or self.num_attention_heads
        self.head_dim = self.head_dim or self.hidden_size // self.num_attention_heads
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads {self.num_attention_heads} is no multiple of num_key_value_heads {self.num_key_value_heads}."
            )


def layer_kinds(config: Any) -> list[str]:
    """For each layer whether it reads the whole text or a sliding window, as `layer_types` says; without it all are alike, sliding
    where the configuration names a window."""
    alike = SLIDING if getattr(config, "sliding_window", None) else FULL
    return list(getattr(config, "layer_types", None) or [alike] * config.num_hidden_layers)


class LlamaAttention(nn.Module):
    """Rotary self-attention, `num_key_value_heads` keys for `num_attention_heads` queries."""

    scale: float | None = None
    softcap: float | None = None

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim, self.dropout = layer, config.head_dim, config.attention_dropout
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.make_projections(config, config.hidden_size, queries, keys)

    def make_projections(self, config: Any, width: int, queries: int, keys: int) -> None:
        """Layers from `width` to so many numbers for queries and keys, and back."""
        bias = config.attention_bias
        self.q_proj, self.k_proj = nn.Linear(width, queries, bias), nn.Linear(width, keys, bias)
        self.v_proj, self.o_proj = nn.Linear(width, keys, bias), nn.Linear(queries, width, bias)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(batch, tokens, width) -> q (batch, heads, tokens, head_dim), k and v (batch, kv heads, tokens, head_dim)."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.q_proj, self.k_proj, self.v_proj))
        return q, k, v

    def forward(self, x: torch.Tensor, turn: Turn, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = self.project(x)
        q, k = rotate(q, *turn), rotate(k, *turn)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        dropout = self.dropout if self.training else 0.0
        z = attend(q, k, v, mask, layer=self.layer, scale=self.scale, softcap=self.softcap, dropout=dropout)
        return merge_heads(z, self.o_proj, layer=self.layer)


class LlamaMLP(nn.Module):
    """down(act(gate(x)) * up(x)). Shazeer 2020."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj, self.up_proj = nn.Linear(width, inner, bias), nn.Linear(width, inner, bias)
        self.down_proj = nn.Linear(inner, width, bias)
        self.act_fn = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.down_proj(tap("mlp_act", self.layer, self.act_fn(self.gate_proj(x)) * self.up_proj(x)))


class LlamaDecoderLayer(nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    attention: ClassVar[type[nn.Module]] = LlamaAttention
    feed_forward: ClassVar[type[nn.Module]] = LlamaMLP
    norm: ClassVar[type[nn.Module]] = RMSNorm

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.self_attn = self.attention(config, layer)
        self.mlp = self.feed_forward(config, layer)
        self.input_layernorm = self.norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = self.norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: torch.Tensor, turn: Turn, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = tap("resid_mid", self.layer, x + self.self_attn(self.input_layernorm(x), turn, mask, cache))
        return tap("resid_post", self.layer, x + tap("mlp_out", self.layer, self.mlp(self.post_attention_layernorm(x))))


class LlamaPreTrainedModel(PreTrainedModel):
    """What the Llama classes share."""

    config_class = LlamaConfig
    base_model_prefix = "model"
    embeddings_name = "embed_tokens"


class LlamaModel(Decoder, LlamaPreTrainedModel):
    """The decoder without a head."""

    block: ClassVar[type[LlamaDecoderLayer]] = LlamaDecoderLayer

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(self.block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = self.block.norm(config.hidden_size, config.rms_norm_eps)
        self.kinds = layer_kinds(config)
        self.ropes = {kind: Rope(config.head_dim, rope_settings(config, kind)) for kind in set(self.kinds)}
        self.post_init()

    def context(
        self, x: torch.Tensor, positions: torch.Tensor, attention_mask: torch.Tensor | None, keys: int
    ) -> Callable[[int], tuple[Any, ...]]:
        """Rotation and mask; those of a layer that slides are its own."""
        windows = {FULL: None, SLIDING: getattr(self.config, "sliding_window", None)}
        turns = {kind: rope(positions, x) for kind, rope in self.ropes.items()}
        masks = {kind: make_mask(attention_mask, x, keys, causal=True, window=windows[kind]) for kind in self.ropes}
        return lambda layer: (turns[self.kinds[layer]], masks[self.kinds[layer]])


class LlamaForCausalLM(CausalLMHead, LlamaPreTrainedModel, trunk=LlamaModel):
    """The decoder with a layer that predicts the next token."""


class LlamaForSequenceClassification(LastTokenHead, LlamaPreTrainedModel, trunk=LlamaModel):
    """The decoder with a label for the whole text."""


class LlamaForTokenClassification(TokenHead, LlamaPreTrainedModel, trunk=LlamaModel):
    """The decoder with a label for each token."""

    classifier_name = "score"
