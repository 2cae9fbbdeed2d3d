"""LLaMA: pre-norm decoder with rotary positions, grouped queries and a gated MLP. Touvron et al. 2023.

Its relatives (Mistral, Qwen, Gemma …) are these classes with other parts in them: a model names the class of its layers, a layer
those of its parts.
"""

from typing import Any, ClassVar

import torch
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.decoder import RotaryDecoder
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import RMSNorm, activation, gated
from core.modeling.linear import Linear, together
from core.modeling.masks import Mask
from core.modeling.model import PreTrainedModel
from core.modeling.positions import rotate
from core.modeling.taps import tap

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
        self.q_proj, self.k_proj = Linear(width, queries, bias), Linear(width, keys, bias)
        self.v_proj, self.o_proj = Linear(width, keys, bias), Linear(queries, width, bias)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(batch, tokens, width) -> q (batch, heads, tokens, head_dim), k and v (batch, kv heads, tokens, head_dim)."""
        q, k, v = (split_heads(part, self.head_dim) for part in together(x, self.q_proj, self.k_proj, self.v_proj))
        return q, k, v

    def forward(self, x: torch.Tensor, turn: Turn, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = self.project(x)
        q, k = rotate(torch.cat([q, k], 1), *turn).split([q.shape[1], k.shape[1]], 1)  # as one: half the calls
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
        self.gate_proj, self.up_proj = Linear(width, inner, bias), Linear(width, inner, bias)
        self.down_proj = Linear(inner, width, bias)
        self.act_fn = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        gate, up = together(x, self.gate_proj, self.up_proj)
        return self.down_proj(tap("mlp_act", self.layer, gated(self.act_fn, gate, up)))


class LlamaDecoderLayer(nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    attention: ClassVar[type[nn.Module]] = LlamaAttention
    feed_forward: ClassVar[type[nn.Module]] = LlamaMLP
    feed_forward_name: ClassVar[str] = "mlp"
    norm: ClassVar[type[nn.Module]] = RMSNorm

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.self_attn = self.attention(config, layer)
        setattr(self, self.feed_forward_name, self.feed_forward(config, layer))
        self.input_layernorm = self.norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = self.norm(config.hidden_size, config.rms_norm_eps)
        self.dropout = nn.Dropout(getattr(config, "residual_dropout", 0.0))

    def forward(self, x: torch.Tensor, turn: Turn, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = tap("resid_mid", self.layer, x + self.dropped(self.self_attn(self.input_layernorm(x), turn, mask, cache)))
        return tap("resid_post", self.layer, x + self.dropped(self.fed(self.post_attention_layernorm(x))))

    def dropped(self, x: torch.Tensor) -> torch.Tensor:
        """What joins the residual stream."""
        return self.dropout(x) if self.training else x

    def fed(self, x: torch.Tensor) -> torch.Tensor:
        """What the MLP makes of (batch, tokens, width)."""
        return tap("mlp_out", self.layer, getattr(self, self.feed_forward_name)(x))


class LlamaPreTrainedModel(PreTrainedModel):
    """What the Llama classes share."""

    config_class = LlamaConfig
    base_model_prefix = "model"
    embeddings_name = "embed_tokens"


class LlamaModel(RotaryDecoder, LlamaPreTrainedModel):
    """The decoder without a head."""

    block: ClassVar[type[LlamaDecoderLayer]] = LlamaDecoderLayer

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embed_tokens = self.make_embeddings(config)
        self.layers = nn.ModuleList(self.block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = self.block.norm(config.hidden_size, config.rms_norm_eps)
        self.make_ropes(config)
        self.post_init()

    def make_embeddings(self, config: Any) -> nn.Embedding:
        """The table of token vectors."""
        return nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)


class LlamaForCausalLM(CausalLMHead, LlamaPreTrainedModel, trunk=LlamaModel):
    """The decoder with a layer that predicts the next token."""


class LlamaForSequenceClassification(LastTokenHead, LlamaPreTrainedModel, trunk=LlamaModel):
    """The decoder with a label for the whole text."""


class LlamaForTokenClassification(TokenHead, LlamaPreTrainedModel, trunk=LlamaModel):
    """The decoder with a label for each token."""

    classifier_name = "score"
