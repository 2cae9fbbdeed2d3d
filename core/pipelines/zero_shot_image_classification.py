"""An image's label out of labels that no model was trained for."""

from typing import Any

import torch

from core.errors import DataError
from core.pipelines.base import Piece
from core.pipelines.images import ImagePipeline
from core.pipelines.options import LABELS, TEMPLATE_HELP, Option, labels_and_template


class ZeroShotImageClassificationPipeline(ImagePipeline):
    """`choose("cat.png", candidate_labels=["cat", "dog"])` -> [{"score", "label"}], the likeliest first: which of "This is a photo of …"
    is nearest to the image. Radford et al. 2021, 3.1."""

    task = "zero-shot-image-classification"
    kinds = ("ZeroShotImageClassification",)
    parts = ("image_processor", "tokenizer")
    options = (
        LABELS,
        Option("hypothesis_template", "This is a photo of {}.", TEMPLATE_HELP),
        Option("tokenizer_kwargs", None, "More arguments for the tokenizer."),
    )

    def __call__(
        self, image: Any, candidate_labels: Any = None, *, batch_size: int | None = None, num_workers: int = 0, **given: Any
    ) -> Any:
        """An image or several, and the labels."""
        if candidate_labels is not None:
            given["candidate_labels"] = candidate_labels
        return super().__call__(image, batch_size=batch_size, **given)

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """With the labels as a list."""
        return labels_and_template(super().settings(given))

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        if not options["candidate_labels"]:
            raise DataError("zero-shot-image-classification needs labels to choose from: candidate_labels.")
        return super().prepare(item, options)

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """The images of a batch against all labels."""
        said = [options["hypothesis_template"].replace("{}", label) for label in options["candidate_labels"]]
        texts = self.tokenizer(said, padding=True, return_tensors="pt", truncation=True, **(options["tokenizer_kwargs"] or {}))
        return list(self.run_model({**texts.to(self.device), **inputs}).logits_per_image.float().cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        """The labels by their scores."""
        scores = outputs[0].softmax(-1).tolist()
        pairs = sorted(zip(scores, options["candidate_labels"], strict=True), key=lambda pair: -pair[0])
        return [{"score": value, "label": label} for value, label in pairs]
