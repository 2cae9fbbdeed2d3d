"""StarCoder 2: LLaMA with LayerNorms, biases, a plain MLP and a sliding window. Lozhkov et al. 2024."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import activation
from core.modeling.linear import Linear
from core.modeling.taps import tap
from core.models.llama import LlamaConfig, LlamaDecoderLayer, LlamaModel, LlamaPreTrainedModel


class Starcoder2Config(LlamaConfig):
    """Keys and defaults of a starcoder2 config.json."""

    model_type = "starcoder2"
    attribute_map = {"rms_norm_eps": "norm_epsilon", "attention_bias": "use_bias"}
    defaults = {
        "vocab_size": 49152,
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_hidden_layers": 30,
        "num_attention_heads": 24,
        "num_key_value_heads": 2,
        "head_dim": None,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 4096,
        "initializer_range": 0.018042,
        "norm_epsilon": 1e-5,
        "use_bias": True,
        "sliding_window": None,
        "attention_dropout": 0.0,
        "residual_dropout": 0.0,
        "embedding_dropout": 0.0,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "tie_word_embeddings": True,
    }


class Starcoder2MLP(nn.Module):
    """c_proj(act(c_fc x))."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.c_fc = Linear(config.hidden_size, config.intermediate_size, config.use_bias)
        self.c_proj = Linear(config.intermediate_size, config.hidden_size, config.use_bias)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.c_proj(tap("mlp_act", self.layer, self.act(self.c_fc(x))))


class Starcoder2DecoderLayer(LlamaDecoderLayer):
    """LLaMA's, with its own norms and MLP."""

    feed_forward, norm = Starcoder2MLP, nn.LayerNorm


class Starcoder2PreTrainedModel(LlamaPreTrainedModel):
    """What the StarCoder 2 classes share."""

    config_class = Starcoder2Config


class Starcoder2Model(LlamaModel, Starcoder2PreTrainedModel):
    """The decoder without a head."""

    block = Starcoder2DecoderLayer

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return F.dropout(words, self.config.embedding_dropout, self.training)


class Starcoder2ForCausalLM(CausalLMHead, Starcoder2PreTrainedModel, trunk=Starcoder2Model):
    """The decoder with a layer that predicts the next token."""


class Starcoder2ForSequenceClassification(LastTokenHead, Starcoder2PreTrainedModel, trunk=Starcoder2Model):
    """The decoder with a label for the whole text."""


class Starcoder2ForTokenClassification(TokenHead, Starcoder2PreTrainedModel, trunk=Starcoder2Model):
    """The decoder with a label for each token."""

    classifier_name = "score"
