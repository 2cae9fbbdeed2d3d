"""Qwen3: Qwen2 with a norm of each head's queries and keys in place of their biases. Yang et al. 2025."""

from typing import Any, ClassVar

import torch
from torch import nn

from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import RMSNorm
from core.models.llama import LlamaAttention, LlamaDecoderLayer, LlamaModel, LlamaPreTrainedModel
from core.models.qwen2 import Qwen2Config


class Qwen3Config(Qwen2Config):
    """Keys and defaults of a qwen3 config.json."""

    model_type = "qwen3"
    defaults = Qwen2Config.defaults | {"head_dim": 128}


class Qwen3Attention(LlamaAttention):
    """Queries and keys are normalised by head before they are turned. Henry et al. 2020."""

    norm: ClassVar[type[nn.Module]] = RMSNorm

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, layer)
        self.q_norm = self.norm(config.head_dim, config.rms_norm_eps)
        self.k_norm = self.norm(config.head_dim, config.rms_norm_eps)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(batch, tokens, width) -> q (batch, heads, tokens, head_dim), k and v (batch, kv heads, tokens, head_dim)."""
        q, k, v = super().project(x)
        return self.q_norm(q), self.k_norm(k), v


class Qwen3DecoderLayer(LlamaDecoderLayer):
    """LLaMA's, with its own attention."""

    attention = Qwen3Attention


class Qwen3PreTrainedModel(LlamaPreTrainedModel):
    """What the Qwen3 classes share."""

    config_class = Qwen3Config


class Qwen3Model(LlamaModel, Qwen3PreTrainedModel):
    """The decoder without a head."""

    block = Qwen3DecoderLayer


class Qwen3ForCausalLM(CausalLMHead, Qwen3PreTrainedModel, trunk=Qwen3Model):
    """The decoder with a layer that predicts the next token."""


class Qwen3ForSequenceClassification(LastTokenHead, Qwen3PreTrainedModel, trunk=Qwen3Model):
    """The decoder with a label for the whole text."""


class Qwen3ForTokenClassification(TokenHead, Qwen3PreTrainedModel, trunk=Qwen3Model):
    """The decoder with a label for each token."""

    classifier_name = "score"
