"""Gemma 2: Gemma with norms after the attention and the MLP too, soft caps, and a sliding window in every other layer.
Riviere et al. 2024."""

from typing import Any

import torch

from core.modeling.cache import Cache
from core.modeling.decoder import FULL, SLIDING
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.masks import Mask
from core.modeling.taps import tap
from core.models.gemma import GemmaConfig, GemmaDecoderLayer, GemmaModel, GemmaPreTrainedModel
from core.models.llama import LlamaAttention, Turn


class Gemma2Config(GemmaConfig):
    """Keys and defaults of a gemma2 config.json."""

    model_type = "gemma2"
    defaults = GemmaConfig.defaults | {
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 2,
        "layer_types": None,
        "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
    }

    def check(self) -> None:
        """Without `layer_types`, one layer in `sliding_window_pattern` reads the whole text. `hidden_activation` is meant, whatever
        `hidden_act` says."""
        super().check()
        self.hidden_act = self.hidden_activation
        every = self.sliding_window_pattern
        kinds = [SLIDING if (layer + 1) % every else FULL for layer in range(self.num_hidden_layers)]
        self.layer_types = self.layer_types or kinds


class Gemma2Attention(LlamaAttention):
    """Scores divided by the root of `query_pre_attn_scalar`, and capped."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, layer)
        self.scale, self.softcap = config.query_pre_attn_scalar**-0.5, config.attn_logit_softcapping


class Gemma2DecoderLayer(GemmaDecoderLayer):
    """x + norm(attention(norm x)), then x + norm(mlp(norm x))."""

    attention = Gemma2Attention

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, layer)
        self.pre_feedforward_layernorm = self.norm(config.hidden_size, config.rms_norm_eps)
        self.post_feedforward_layernorm = self.norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: torch.Tensor, turn: Turn, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        attended = self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), turn, mask, cache))
        x = tap("resid_mid", self.layer, x + attended)
        return tap("resid_post", self.layer, x + self.post_feedforward_layernorm(self.fed(self.pre_feedforward_layernorm(x))))


class Gemma2PreTrainedModel(GemmaPreTrainedModel):
    """What the Gemma 2 classes share."""

    config_class = Gemma2Config


class Gemma2Model(GemmaModel, Gemma2PreTrainedModel):
    """The decoder without a head."""

    block = Gemma2DecoderLayer


class Gemma2ForCausalLM(CausalLMHead, Gemma2PreTrainedModel, trunk=Gemma2Model):
    """The decoder with a layer that predicts the next token, its logits capped."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        logits, cap = super().logits(hidden), self.config.final_logit_softcapping
        return logits if cap is None else cap * (logits / cap).tanh()


class Gemma2ForSequenceClassification(LastTokenHead, Gemma2PreTrainedModel, trunk=Gemma2Model):
    """The decoder with a label for the whole text."""


class Gemma2ForTokenClassification(TokenHead, Gemma2PreTrainedModel, trunk=Gemma2Model):
    """The decoder with a label for each token."""

    classifier_name = "score"
