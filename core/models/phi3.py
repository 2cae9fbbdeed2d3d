"""Phi-3: LLaMA with q, k and v in one projection, gate and up in another, and part of each head turned. Abdin et al. 2024."""

from typing import Any

import torch
from torch import nn

from core.modeling.attention import split_heads
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import activation
from core.modeling.linear import Linear
from core.modeling.taps import tap
from core.models.llama import LlamaAttention, LlamaConfig, LlamaDecoderLayer, LlamaModel, LlamaPreTrainedModel


class Phi3Config(LlamaConfig):
    """Keys and defaults of a phi3 config.json."""

    model_type = "phi3"
    attribute_map = {"residual_dropout": "resid_pdrop"}
    defaults = LlamaConfig.defaults | {
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "sliding_window": None,
        "bos_token_id": 1,
        "eos_token_id": 32000,
        "pad_token_id": 32000,
        "rope_scaling": None,
        "rope_parameters": None,
    }

    def check(self) -> None:
        """The first releases call LongRoPE "su" or "yarn"."""
        super().check()
        for settings in (self.rope_scaling, self.rope_parameters):
            for key in ("type", "rope_type"):
                if settings and settings.get(key) in ("su", "yarn"):
                    settings[key] = "longrope"


class Phi3Attention(LlamaAttention):
    """One projection for q, k and v."""

    def make_projections(self, config: Any, width: int, queries: int, keys: int) -> None:
        """Layers from `width` to so many numbers for queries and keys, and back."""
        self.sizes = (queries, keys, keys)
        self.qkv_proj, self.o_proj = Linear(width, sum(self.sizes), bias=False), Linear(queries, width, bias=False)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(batch, tokens, width) -> q (batch, heads, tokens, head_dim), k and v (batch, kv heads, tokens, head_dim)."""
        q, k, v = (split_heads(part, self.head_dim) for part in self.qkv_proj(x).split(self.sizes, -1))
        return q, k, v


class Phi3MLP(nn.Module):
    """LLaMA's, gate and up in one projection."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.gate_up_proj = Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.activation_fn = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(tap("mlp_act", self.layer, self.activation_fn(gate) * up))


class Phi3DecoderLayer(LlamaDecoderLayer):
    """LLaMA's, with its own attention and MLP."""

    attention, feed_forward = Phi3Attention, Phi3MLP


class Phi3PreTrainedModel(LlamaPreTrainedModel):
    """What the Phi-3 classes share."""

    config_class = Phi3Config


class Phi3Model(LlamaModel, Phi3PreTrainedModel):
    """The decoder without a head."""

    block = Phi3DecoderLayer


class Phi3ForCausalLM(CausalLMHead, Phi3PreTrainedModel, trunk=Phi3Model):
    """The decoder with a layer that predicts the next token."""


class Phi3ForSequenceClassification(LastTokenHead, Phi3PreTrainedModel, trunk=Phi3Model):
    """The decoder with a label for the whole text."""


class Phi3ForTokenClassification(TokenHead, Phi3PreTrainedModel, trunk=Phi3Model):
    """The decoder with a label for each token."""

    classifier_name = "score"
