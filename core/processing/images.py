"""Images as numbers: opening them, and what is done to one of (channels, height, width) before a model sees it."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from core.errors import MediaError, one_line, printable

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
MOST_PIXELS = 80_000_000


def load_image(source: Any) -> Image.Image:
    """A path, bytes or a PIL image -> an upright RGB image. Raises MediaError naming the file and its fault.

    Only formats that Pillow decodes by itself are opened, and none that unfolds to more than 80 megapixels.
    """
    if isinstance(source, Image.Image):
        image, name = source, "The image"
    elif isinstance(source, bytes | bytearray | memoryview):
        image, name = io.BytesIO(source), "The image"
    elif not isinstance(source, str | os.PathLike):
        raise MediaError(f"An image is a path, bytes or a PIL image, not {type(source).__name__}.")
    else:
        image, name = Path(source).expanduser(), printable(str(source))
        if name.startswith(("http://", "https://")):
            raise MediaError(f"{name} is an address: download the image and give its path or its bytes.")
        if not image.is_file():
            raise MediaError(f"{name}: there is no such image file.")
    try:
        if not isinstance(image, Image.Image):
            image = Image.open(image, formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        return ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError:
        raise MediaError(f"{name} has more than {MOST_PIXELS // 10**6} million pixels: make it smaller.") from None
    except Image.UnidentifiedImageError:
        raise MediaError(f"{name} is no image that can be opened; formats: {', '.join(FORMATS)}.") from None
    except Exception as error:  # Pillow lets its decoders' own errors through
        raise MediaError(f"{name} is a broken image: {one_line(error)}.") from error


def flat_list(images: Any) -> list[Any]:
    """One image, a batch of (batch, …) or lists of either, as one flat list."""
    if isinstance(images, list | tuple):
        return [image for item in images for image in flat_list(item)]
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4:
        return list(images)
    return [images]


def to_array(image: Any, rgb: bool, layout: str | None = None) -> np.ndarray:
    """An image of any kind -> (channels, height, width); numbers keep their type.

    Files come as RGB. Others are made RGB where `rgb` says so, with what is transparent laid on white. `layout`
    ("channels_first", "channels_last") settles what the shape of an array does not.
    """
    if isinstance(image, str | os.PathLike | bytes | bytearray | memoryview):
        image = load_image(image)
    if isinstance(image, Image.Image):
        try:
            if rgb:
                image = _on_white(image)
            array = np.asarray(image)
        except Exception as error:  # an opened file is decoded only now
            raise MediaError(f"The image is broken: {one_line(error)}.") from error
        return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    array = image.numpy(force=True) if isinstance(image, torch.Tensor) else image
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise MediaError(f"An image is a PIL image, an array, a tensor, a path or bytes, not {type(image).__name__}.")
    if array.ndim == 2:
        array, layout = array[None], "channels_first"
    if array.ndim != 3 or not array.size:
        raise MediaError(f"An image has height, width and channels, not the shape {array.shape}.")
    if not np.isfinite(array).all():
        raise MediaError("The image holds NaN or infinite values.")
    if layout not in ("channels_first", "channels_last"):
        first, last = array.shape[0] in (1, 3, 4), array.shape[-1] in (1, 3, 4)
        if not first and not last:
            raise MediaError(f"An image of shape {array.shape} has its 1, 3 or 4 channels neither first nor last.")
        layout = "channels_first" if first else "channels_last"
    if layout == "channels_last":
        array = np.moveaxis(array, -1, 0)
    return _array_on_white(array) if rgb else array


def _on_white(image: Image.Image) -> Image.Image:
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _array_on_white(image: np.ndarray) -> np.ndarray:
    if image.shape[0] == 1:
        return np.repeat(image, 3, axis=0)
    if image.shape[0] != 4:
        return image
    whole = image.dtype.kind in "iu"
    white = 255 if whole else 1.0
    if not whole and (image.min() < 0 or image.max() > 1):
        raise MediaError("An image with transparency must hold values from 0 to 1, or whole numbers from 0 to 255.")
    alpha = image[3:] / white
    mixed = alpha * image[:3] + (1 - alpha) * white
    return (np.round(mixed) if whole else mixed).astype(image.dtype)


def target_size(height: int, width: int, size: dict[str, int]) -> tuple[int, int]:
    """(height, width) of a resized image.

    `size`: height and width; or shortest_edge, with at most longest_edge for the other; or the box max_height × max_width.
    """
    if "height" in size:
        return size["height"], size["width"]
    if "max_height" in size:
        scale = min(size["max_height"] / height, size["max_width"] / width)
        return max(1, int(height * scale)), max(1, int(width * scale))
    short, long = min(height, width), max(height, width)
    edge = wanted = size["shortest_edge"]
    if "longest_edge" in size and long / short * edge > size["longest_edge"]:
        wanted = size["longest_edge"] * short / long
        edge = round(wanted)
    other = long if edge == short else int(wanted * long / short)
    return (edge, other) if height <= width else (other, edge)


def resize(image: np.ndarray, size: tuple[int, int], resample: int) -> np.ndarray:
    """(channels, height, width) -> (channels, *size), by Pillow, hence in 256 steps; values from 0 to 1 stay so."""
    height, width = size
    if height * width > MOST_PIXELS:
        raise MediaError(f"An image of shape {image.shape} would become {height} × {width} pixels, which is too large.")
    fractions = False
    if image.dtype != np.uint8:
        fractions = not np.allclose(image, image.astype(int))
        if image.min() < 0 or image.max() > (1 if fractions else 255):
            raise MediaError(
                f"An image to be resized holds fractions from 0 to 1 or whole numbers from 0 to 255, not {image.min():g} to "
                f"{image.max():g}: rescale it, or set do_resize=False."
            )
    levels = rescale(image, 255) if fractions else image
    picture = Image.fromarray(
        np.ascontiguousarray(np.moveaxis(levels, 0, -1).astype(np.uint8).squeeze(-1 if len(image) == 1 else ()))
    )
    resized = np.asarray(picture.resize((width, height), resample=Image.Resampling(resample)))
    resized = resized[None] if resized.ndim == 2 else np.moveaxis(resized, -1, 0)
    return rescale(resized, 1 / 255) if fractions else resized


def center_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(channels, height, width) -> (channels, *size) around the middle, with zeros around an image that is smaller."""
    for axis, wanted in enumerate(size, start=1):
        have = image.shape[axis]
        before = max(0, -((have - wanted) // 2))
        pad = [(0, 0)] * 3
        pad[axis] = (before, max(0, wanted - have - before))
        start = max(0, (have - wanted) // 2)
        image = np.take(np.pad(image, pad), range(start, start + wanted), axis=axis)
    return image


def rescale(image: np.ndarray, factor: float) -> np.ndarray:
    """Times `factor`, as float32."""
    return (image.astype(np.float64) * factor).astype(np.float32)


def normalize(image: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """(values - mean) / std by channel; one number serves all channels."""
    if image.dtype.kind != "f":
        image = image.astype(np.float32)
    if {len(mean), len(std)} - {1, image.shape[0]}:
        raise MediaError(
            f"The image has {image.shape[0]} channels and the model takes {len(mean)}: convert it, as with image.convert('RGB')."
        )
    shape = (-1, 1, 1)
    return (image - np.array(mean, image.dtype).reshape(shape)) / np.array(std, image.dtype).reshape(shape)
