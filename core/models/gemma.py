"""Gemma: LLaMA with a GELU, norms that add one to their weight, and token vectors times the root of their width. Mesnard et al. 2024."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.errors import ConfigError
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import RMSNorm, ScaledEmbedding
from core.models.llama import LlamaConfig, LlamaDecoderLayer, LlamaModel, LlamaPreTrainedModel


class GemmaConfig(LlamaConfig):
    """Keys and defaults of a gemma config.json."""

    model_type = "gemma"
    defaults = LlamaConfig.defaults | {
        "vocab_size": 256000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
        "use_bidirectional_attention": None,
    }

    def check(self) -> None:
        """The first release says "gelu" and was trained with its tanh approximation."""
        super().check()
        if self.hidden_act == "gelu":
            self.hidden_act = "gelu_pytorch_tanh"
        if self.use_bidirectional_attention:
            raise ConfigError("use_bidirectional_attention is set: Gemma as an encoder is not supported, only as a decoder.")


class GemmaRMSNorm(RMSNorm):
    """x / rms(x) * (1 + weight), all in float32."""

    def reset_parameters(self) -> None:
        """As it is before any training."""
        nn.init.zeros_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, width) -> (…, width)."""
        return F.rms_norm(x.float(), x.shape[-1:], 1 + self.weight.float(), self.eps).to(x.dtype)


class GemmaDecoderLayer(LlamaDecoderLayer):
    """LLaMA's, with its own norms."""

    norm = GemmaRMSNorm


class GemmaPreTrainedModel(LlamaPreTrainedModel):
    """What the Gemma classes share."""

    config_class = GemmaConfig


class GemmaModel(LlamaModel, GemmaPreTrainedModel):
    """The decoder without a head."""

    block = GemmaDecoderLayer

    def make_embeddings(self, config: Any) -> nn.Embedding:
        """The table of token vectors."""
        return ScaledEmbedding(config.vocab_size, config.hidden_size, config.pad_token_id, config.hidden_size**0.5)


class GemmaForCausalLM(CausalLMHead, GemmaPreTrainedModel, trunk=GemmaModel):
    """The decoder with a layer that predicts the next token."""


class GemmaForSequenceClassification(LastTokenHead, GemmaPreTrainedModel, trunk=GemmaModel):
    """The decoder with a label for the whole text."""


class GemmaForTokenClassification(TokenHead, GemmaPreTrainedModel, trunk=GemmaModel):
    """The decoder with a label for each token."""

    classifier_name = "score"
