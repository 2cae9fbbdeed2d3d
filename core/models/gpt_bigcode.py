"""GPTBigCode (SantaCoder, StarCoder): GPT-2 whose heads may share one key and one value. Li et al. 2023; Shazeer 2019."""

from typing import Any

import torch
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import split_heads
from core.modeling.cache import Cache
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.models.gpt2 import GPT2MLP, GPT2Attention, GPT2Block, GPT2Config, GPT2Model, GPT2PreTrainedModel


class GPTBigCodeConfig(GPT2Config):
    """Keys and defaults of a gpt_bigcode config.json."""

    model_type = "gpt_bigcode"
    defaults = GPT2Config.defaults | {"activation_function": "gelu_pytorch_tanh", "multi_query": True}

    def check(self) -> None:
        """It attends to no encoder."""
        super().check()
        if self.add_cross_attention:
            raise ConfigError("add_cross_attention is set: gpt_bigcode has no cross-attention here; gpt2 has.")


def linear(to: int, width: int) -> nn.Linear:
    """Sizes in the order of GPT-2's own layer."""
    return nn.Linear(width, to)


class GPTBigCodeAttention(GPT2Attention):
    """One projection for q, k and v: all queries, then one key and one value; or without `multi_query` head by head."""

    linear = staticmethod(linear)

    def key_width(self, config: Any) -> int:
        """How many numbers all heads' keys have together."""
        return self.head_dim if config.multi_query else config.n_embd

    def parts(self, x: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """(batch, tokens, width) -> q (batch, heads, tokens, head width), k and v the same or (batch, 1, tokens, head width)."""
        if self.sizes[0] > self.sizes[1]:
            return super().parts(x)
        return split_heads(self.c_attn(x), 3 * self.head_dim).chunk(3, -1)


class GPTBigCodeMLP(GPT2MLP):
    """GPT-2's, of plain layers."""

    linear = staticmethod(linear)


class GPTBigCodeBlock(GPT2Block):
    """GPT-2's, with its own attention."""

    attention, feed_forward = GPTBigCodeAttention, GPTBigCodeMLP


class GPTBigCodePreTrainedModel(GPT2PreTrainedModel):
    """What the GPTBigCode classes share."""

    config_class = GPTBigCodeConfig


class GPTBigCodeModel(GPT2Model, GPTBigCodePreTrainedModel):
    """The decoder without a head."""

    block = GPTBigCodeBlock

    def make_cache(self, past_key_values: Any, use_cache: bool | None) -> Cache | None:
        """Also from its own older form: a layer's keys and values side by side, (batch, tokens, 2 * head width) where heads share
        them, else (batch, heads, tokens, 2 * head width)."""
        if isinstance(past_key_values, tuple | list) and isinstance(past_key_values[0], torch.Tensor):
            layers = [layer[:, None] if layer.dim() == 3 else layer for layer in past_key_values]
            past_key_values = [layer.chunk(2, -1) for layer in layers]
        return super().make_cache(past_key_values, use_cache)


class GPTBigCodeForCausalLM(CausalLMHead, GPTBigCodePreTrainedModel, trunk=GPTBigCodeModel):
    """The decoder with a layer that predicts the next token."""


class GPTBigCodeForSequenceClassification(LastTokenHead, GPTBigCodePreTrainedModel, trunk=GPTBigCodeModel):
    """The decoder with a label for the whole text."""


class GPTBigCodeForTokenClassification(TokenHead, GPTBigCodePreTrainedModel, trunk=GPTBigCodeModel):
    """The decoder with a label for each token."""
