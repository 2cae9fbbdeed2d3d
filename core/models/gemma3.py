"""Gemma 3, its text part: Gemma 2 with norms of queries and keys in place of soft caps, five sliding layers to a full one, and a
rotation for each kind of layer. Kamath et al. 2025."""

from typing import Any, Self

import torch

from core.modeling.decoder import FULL, SLIDING
from core.modeling.heads import LastTokenHead, TokenHead
from core.models.gemma import GemmaRMSNorm
from core.models.gemma2 import (
    Gemma2Attention,
    Gemma2Config,
    Gemma2DecoderLayer,
    Gemma2ForCausalLM,
    Gemma2Model,
    Gemma2PreTrainedModel,
)
from core.models.qwen3 import Qwen3Attention


class Gemma3TextConfig(Gemma2Config):
    """Keys and defaults of a gemma3_text config.json."""

    model_type = "gemma3_text"
    defaults = Gemma2Config.defaults | {
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "sliding_window_pattern": 6,
        "final_logit_softcapping": None,
        "attn_logit_softcapping": None,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
        "rope_scaling": None,
        "rope_parameters": None,
    }

    @classmethod
    def from_dict(cls, values: dict[str, Any], **overrides: Any) -> Self:
        """Also from the file of a model that reads images too, of which the text part is taken."""
        if text := values.get("text_config"):
            whole = {key: value for key, value in values.items() if key not in ("text_config", "vision_config", "architectures")}
            values = whole | text
        return super().from_dict(values, **overrides)

    def check(self) -> None:
        """Older files say how full layers turn in `rope_theta` and `rope_scaling`, sliding ones in `rope_local_base_freq`."""
        super().check()
        full, sliding = {"rope_theta": self.rope_theta}, {"rope_theta": self.rope_local_base_freq}
        given = self.rope_parameters or {}
        self.rope_parameters = {
            FULL: full | (self.rope_scaling or {}) | (given.get(FULL) or {}),
            SLIDING: sliding | (given.get(SLIDING) or {}),
        }


class Gemma3Attention(Gemma2Attention, Qwen3Attention):
    """Gemma 2's, with queries and keys normalised by head and no cap."""

    norm = GemmaRMSNorm

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, layer)
        self.softcap = None


class Gemma3DecoderLayer(Gemma2DecoderLayer):
    """Gemma 2's, with its own attention."""

    attention = Gemma3Attention


class Gemma3PreTrainedModel(Gemma2PreTrainedModel):
    """What the Gemma 3 classes share. In files of models that read images too, the text part has a prefix."""

    config_class = Gemma3TextConfig
    other_names = r"^(model\.)?language_model\."

    @classmethod
    def translate(cls, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        """language_model.model.layers or model.language_model.layers -> model.layers."""
        return {name.replace("language_model.", "", 1): tensor}


class Gemma3TextModel(Gemma2Model, Gemma3PreTrainedModel):
    """The decoder without a head."""

    block = Gemma3DecoderLayer


class Gemma3ForCausalLM(Gemma2ForCausalLM, Gemma3PreTrainedModel, trunk=Gemma3TextModel):
    """The decoder with a layer that predicts the next token."""


class Gemma3TextForSequenceClassification(LastTokenHead, Gemma3PreTrainedModel, trunk=Gemma3TextModel):
    """The decoder with a label for the whole text."""


class Gemma3TextForTokenClassification(TokenHead, Gemma3PreTrainedModel, trunk=Gemma3TextModel):
    """The decoder with a label for each token."""

    classifier_name = "score"
