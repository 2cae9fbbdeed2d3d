"""Images as vectors."""

from typing import Any

import torch

from core.errors import ConfigError
from core.pipelines.base import Piece
from core.pipelines.images import ImagePipeline
from core.pipelines.options import Option


class ImageFeatureExtractionPipeline(ImagePipeline):
    """`extractor("cat.png")` -> the last hidden state as nested lists [1][patches][width]; with `pool`, [1][width]."""

    task = "image-feature-extraction"
    options = (
        Option("pool", False, "Whether to give the pooled vector of the image instead of one for each patch."),
        Option("return_tensors", False, "Whether to give tensors instead of lists."),
        Option("image_processor_kwargs", None, "More arguments for the image processor."),
    )

    def _check_model(self) -> None:
        """Raise ConfigError for a model that reads something else beside images, or instead."""
        super()._check_model()
        names = self.model.forward_names()
        if "pixel_values" not in names or "input_ids" in names:
            raise ConfigError(
                f"A {type(self.model).__name__} does not read images alone: image-feature-extraction needs one that does."
            )

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        return [Piece(self.pixels(item, **(options["image_processor_kwargs"] or {})))]

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """(patches, width) a row, or (width,) pooled."""
        out = self.run_model(inputs)
        if options["pool"] and "pooler_output" not in out:
            raise ConfigError("This model has no layer that pools: leave out `pool`.")
        return list((out.pooler_output if options["pool"] else out[0]).float().cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> Any:
        """With a first dimension of one."""
        return outputs[0][None] if options["return_tensors"] else [outputs[0].tolist()]
