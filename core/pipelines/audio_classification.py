"""A clip's label."""

from typing import Any

import torch

from core.errors import MediaError
from core.pipelines.audio import AudioPipeline
from core.pipelines.base import Piece
from core.pipelines.options import FUNCTION, Option
from core.pipelines.scores import ranked, score
from core.processing import load_audio


class AudioClassificationPipeline(AudioPipeline):
    """`classifier("bark.wav")` -> [{"score", "label"}], the likeliest first."""

    task = "audio-classification"
    kinds = ("AudioClassification",)
    options = (Option("top_k", 5, "How many labels to give, the likeliest first; None for all.", 1, nullable=True), FUNCTION)

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece; what the model hears no more of is counted in samples."""
        clip = load_audio(item, self.rate)
        piece = Piece(self.features(clip))
        heard = getattr(self.feature_extractor, "n_samples", len(clip))
        piece.cut = max(0, len(clip) - heard)
        return [piece]

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """The logits. Raises MediaError for a clip that is shorter than the model's first window."""
        try:
            return super().forward(inputs, options)
        except RuntimeError as error:
            if "ernel size" not in str(error):
                raise
            raise MediaError("The clip is too short for this model: give at least a tenth of a second.") from error

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        """The likeliest labels."""
        config = self.model.config
        scores = score(outputs[0], config, options["function_to_apply"], one_label="softmax")
        return [{"score": e["score"], "label": e["label"]} for e in ranked(scores, config, options["top_k"])]
