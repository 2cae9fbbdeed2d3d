"""What pipelines of images share."""

from typing import Any

import numpy as np
import torch

from core.pipelines.base import Piece, Pipeline
from core.processing import load_image


class ImagePipeline(Pipeline):
    """An image is a path, bytes, a PIL image, an array or a tensor."""

    parts = ("image_processor",)

    def pixels(self, image: Any, **settings: Any) -> dict[str, torch.Tensor]:
        """pixel_values (channels, height, width)."""
        if not isinstance(image, np.ndarray | torch.Tensor):
            image = load_image(image)
        return {"pixel_values": self.image_processor(image, return_tensors="pt", **settings)["pixel_values"][0]}

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        return [Piece(self.pixels(item))]

    def collate(self, batch: list[Piece]) -> dict[str, torch.Tensor]:
        """(batch, channels, height, width)."""
        return {name: torch.stack([piece.inputs[name] for piece in batch]) for name in batch[0].inputs}

    @property
    def may_pad(self) -> bool:
        """Images are of one size, as the processor makes them."""
        return True
