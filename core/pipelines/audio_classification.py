"""A clip's label."""

from typing import Any

from core.pipelines.audio import AudioPipeline
from core.pipelines.options import FUNCTION, Option
from core.pipelines.pieces import Piece
from core.pipelines.scores import ranked, score
from core.processing import load_audio

LONGEST = 300  # seconds that a model of waves is given: its work grows with the square of the length


class AudioClassificationPipeline(AudioPipeline):
    """`classifier("bark.wav")` -> [{"score", "label"}], the likeliest first."""

    task = "audio-classification"
    kinds = ("AudioClassification",)
    options = (Option("top_k", 5, "How many labels to give, the likeliest first; None for all.", 1, nullable=True), FUNCTION)

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece: of what is too long, the beginning."""
        clip = load_audio(item, self.rate)
        heard = getattr(self.feature_extractor, "n_samples", LONGEST * self.rate)
        return [Piece(self.features(clip[:heard]), cut=max(0, len(clip) - heard))]

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        """The likeliest labels."""
        config = self.model.config
        scores = score(outputs[0], config, options["function_to_apply"], one_label="softmax")
        return [{"score": e["score"], "label": e["label"]} for e in ranked(scores, config, options["top_k"])]
