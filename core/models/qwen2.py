"""Qwen2: LLaMA with biases on q, k and v, whose upper layers may read a sliding window. Yang et al. 2024."""

from typing import Any

from core.modeling.decoder import FULL, SLIDING
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.linear import Linear
from core.models.llama import LlamaAttention, LlamaConfig, LlamaDecoderLayer, LlamaModel, LlamaPreTrainedModel


class Qwen2Config(LlamaConfig):
    """Keys and defaults of a qwen2 config.json."""

    model_type = "qwen2"
    defaults = LlamaConfig.defaults | {
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
        "layer_types": None,
    }

    def check(self) -> None:
        """Without `layer_types`, the layers from `max_window_layers` on slide, if any do."""
        super().check()
        if not self.use_sliding_window:
            self.sliding_window = None
        full = self.max_window_layers if self.sliding_window else self.num_hidden_layers
        self.layer_types = self.layer_types or [FULL if layer < full else SLIDING for layer in range(self.num_hidden_layers)]


class Qwen2Attention(LlamaAttention):
    """Biases on q, k and v."""

    def make_projections(self, config: Any, width: int, queries: int, keys: int) -> None:
        """Layers from `width` to so many numbers for queries and keys, and back."""
        self.q_proj, self.k_proj, self.v_proj = Linear(width, queries), Linear(width, keys), Linear(width, keys)
        self.o_proj = Linear(queries, width, bias=False)


class Qwen2DecoderLayer(LlamaDecoderLayer):
    """LLaMA's, with its own attention."""

    attention = Qwen2Attention


class Qwen2PreTrainedModel(LlamaPreTrainedModel):
    """What the Qwen2 classes share."""

    config_class = Qwen2Config


class Qwen2Model(LlamaModel, Qwen2PreTrainedModel):
    """The decoder without a head."""

    block = Qwen2DecoderLayer


class Qwen2ForCausalLM(CausalLMHead, Qwen2PreTrainedModel, trunk=Qwen2Model):
    """The decoder with a layer that predicts the next token."""


class Qwen2ForSequenceClassification(LastTokenHead, Qwen2PreTrainedModel, trunk=Qwen2Model):
    """The decoder with a label for the whole text."""


class Qwen2ForTokenClassification(TokenHead, Qwen2PreTrainedModel, trunk=Qwen2Model):
    """The decoder with a label for each token."""

    classifier_name = "score"
