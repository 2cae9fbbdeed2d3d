"""An image's label."""

from typing import Any

from core.pipelines.base import Piece
from core.pipelines.images import ImagePipeline
from core.pipelines.options import FUNCTION, Option
from core.pipelines.scores import ranked, score


class ImageClassificationPipeline(ImagePipeline):
    """`classifier("cat.png")` -> [{"label", "score"}], the likeliest first."""

    task = "image-classification"
    kinds = ("ImageClassification",)
    options = (Option("top_k", 5, "How many labels to give, the likeliest first; None for all.", 1, nullable=True), FUNCTION)

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        """The likeliest labels."""
        config = self.model.config
        return ranked(score(outputs[0], config, options["function_to_apply"]), config, options["top_k"])
