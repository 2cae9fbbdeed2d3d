"""An image through an encoder of patches: which patches each patch, and the token for the whole, looks at."""

from typing import Any

import numpy as np
import torch

from core.lens.inspection import Inspection, Stack, observe
from core.modeling.model import PreTrainedModel


def inspect_image(model: PreTrainedModel, processor: Any, image: Any) -> Inspection:
    """Send an image, as the processor takes it, through the model once. The tokens are "all" for the token that stands for the whole
    image, where the model has one, and a row and a column, from 1, for each patch; `image` is what the model sees of the picture.

    Raises MediaError where the image cannot be read.
    """
    pixels = processor(image, return_tensors="pt")["pixel_values"]
    _, found = observe(model, {"pixel_values": pixels.to(model.device, model.dtype)}, {"": Stack(model.config.num_hidden_layers)})
    count, side = found[""]["overall"].shape[0], model.config.patch_size
    height, width = pixels.shape[-2:]
    across, down = ((length // edge) for length, edge in zip((width, height), _pair(side), strict=True))
    names = [f"{row},{column}" for row in range(1, down + 1) for column in range(1, across + 1)]
    return Inspection(
        ["all"] * (count - len(names)) + names, 0, image=seen(pixels[0], processor), grid=(down, across), **found[""]
    )


def _pair(side: Any) -> tuple[int, int]:
    """Width and height of a patch."""
    return (side, side) if isinstance(side, int) else (side[1], side[0])


def seen(pixels: torch.Tensor, processor: Any) -> np.ndarray:
    """Normalised pixels (channels, height, width) -> the picture they are of, (height, width, 3) uint8."""
    values = pixels.float().cpu()
    if processor.do_normalize:
        mean, deviation = (torch.tensor(x)[:, None, None] for x in (processor.image_mean, processor.image_std))
        values = values * deviation + mean
    if processor.do_rescale:
        values = values * 255
    return values.clamp(0, 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
