"""What pipelines of audio share."""

from typing import Any

import numpy as np
import torch

from core.pipelines.base import Piece, Pipeline
from core.processing import load_audio


class AudioPipeline(Pipeline):
    """A clip is a path, bytes, samples at the model's rate, or {"array" or "raw": samples, "sampling_rate": Hz}."""

    parts = ("feature_extractor",)
    batch_size = 1
    unit = "samples"

    @property
    def rate(self) -> int:
        """Samples a second, as the model wants them."""
        return self.feature_extractor.sampling_rate

    def features(self, clip: np.ndarray, **settings: Any) -> dict[str, torch.Tensor]:
        """What the extractor makes of samples (samples,), without a batch."""
        made = self.feature_extractor(clip, sampling_rate=self.rate, return_tensors="pt", **settings)
        return {name: value[0] for name, value in made.items()}

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        return [Piece(self.features(load_audio(item, self.rate)))]

    @property
    def may_pad(self) -> bool:
        """Where the extractor makes no mask, the model would hear the padding: only clips of one length go together."""
        return bool(self.feature_extractor.return_attention_mask)
