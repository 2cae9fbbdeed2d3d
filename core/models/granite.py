"""Granite: LLaMA with a multiplier at each of four places. Granite Team, IBM 2024; the multipliers: Yang et al. 2022."""

from typing import Any

import torch

from core.modeling.cache import Cache
from core.modeling.heads import CausalLMHead
from core.modeling.masks import Mask
from core.modeling.taps import tap
from core.models.llama import LlamaAttention, LlamaConfig, LlamaDecoderLayer, LlamaModel, LlamaPreTrainedModel, Turn


class GraniteConfig(LlamaConfig):
    """Keys and defaults of a granite config.json."""

    model_type = "granite"
    defaults = LlamaConfig.defaults | {
        "embedding_multiplier": 1.0,
        "attention_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


class GraniteAttention(LlamaAttention):
    """Scores are multiplied by `attention_multiplier`, not by 1/sqrt(d)."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, layer)
        self.scale = config.attention_multiplier


class GraniteDecoderLayer(LlamaDecoderLayer):
    """x + m attention(norm x), then x + m mlp(norm x)."""

    attention = GraniteAttention

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, layer)
        self.multiplier = config.residual_multiplier

    def forward(self, x: torch.Tensor, turn: Turn, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = tap("resid_mid", self.layer, x + self.multiplier * self.self_attn(self.input_layernorm(x), turn, mask, cache))
        return tap("resid_post", self.layer, x + self.multiplier * self.fed(self.post_attention_layernorm(x)))


class GranitePreTrainedModel(LlamaPreTrainedModel):
    """What the Granite classes share."""

    config_class = GraniteConfig


class GraniteModel(LlamaModel, GranitePreTrainedModel):
    """The decoder without a head."""

    block = GraniteDecoderLayer

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Token vectors times `embedding_multiplier`."""
        return words * self.config.embedding_multiplier


class GraniteForCausalLM(CausalLMHead, GranitePreTrainedModel, trunk=GraniteModel):
    """The decoder with a layer that predicts the next token, its logits divided by `logits_scaling`."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return super().logits(hidden) / self.config.logits_scaling
