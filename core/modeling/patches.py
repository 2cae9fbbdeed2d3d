"""Images as sequences of patches. Dosovitskiy et al. 2020, 3.1."""

import torch
import torch.nn.functional as F

from core.errors import ConfigError


def sides(size: int | list[int] | tuple[int, ...]) -> tuple[int, int]:
    """A configuration's size as (height, width)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def check_size(pixels: torch.Tensor, size: int | list[int] | tuple[int, ...], channels: int) -> None:
    """Raise ConfigError where (batch, channels, height, width) is not what the model was made for."""
    if pixels.dim() != 4 or pixels.shape[1] != channels or tuple(pixels.shape[2:]) != sides(size):
        wanted = (channels, *sides(size))
        raise ConfigError(
            f"pixel_values have the shape {tuple(pixels.shape)}, this model reads (batch, {', '.join(map(str, wanted))}); for another "
            "height and width ask for interpolate_pos_encoding=True."
        )


def stretched(positions: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Position vectors (1, 1 + n, width) of the class token and a square of patches -> those of rows × columns patches, between
    the learned ones by bicubic interpolation."""
    first, rest = positions[:, :1], positions[:, 1:]
    side = int(rest.shape[1] ** 0.5)
    square = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    square = F.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False)
    return torch.cat([first, square.permute(0, 2, 3, 1).flatten(1, 2)], 1)
