"""Rotary positions. Su et al. 2021; Llama 3's stretching as published with Llama 3.1."""

import math
from typing import Any

import torch

from core.errors import ConfigError


def rope_settings(config: Any) -> dict[str, Any]:
    """The rope settings of either dialect of config.json: `rope_parameters`, or `rope_theta` with `rope_scaling`."""
    values = vars(config)
    settings = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    settings["rope_type"] = settings.pop("type", None) or settings.get("rope_type") or "default"
    settings.setdefault("rope_theta", values.get("rope_theta") or 10000.0)
    return settings


class Rope:
    """Turns pairs (x_i, x_{i + d/2}) of each head by position * theta^(-2i/d)."""

    def __init__(self, head_dim: int, settings: dict[str, Any]) -> None:
        steps = torch.arange(0, head_dim, 2, dtype=torch.int64, device="cpu").float() / head_dim
        inverse = 1.0 / settings["rope_theta"] ** steps
        kind = settings["rope_type"]
        if kind == "linear":
            inverse = inverse / settings["factor"]
        elif kind == "llama3":
            inverse = _llama3(inverse, settings)
        elif kind != "default":
            raise ConfigError(f"rope_type '{kind}' is not supported; known: default, linear, llama3.")
        self.inverse = inverse

    def __call__(self, position_ids: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """position_ids (batch, tokens) -> cos and sin (batch, 1, tokens, head_dim) in the dtype of `like`."""
        if self.inverse.device != like.device:
            self.inverse = self.inverse.to(like.device)
        angles = position_ids[:, None, :, None].float() * self.inverse
        angles = torch.cat([angles, angles], -1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x (batch, heads, tokens, head_dim) turned by its positions."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def _llama3(inverse: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    """Long waves are slowed by `factor`, short ones left alone, those between blended."""
    factor, low, high = settings["factor"], settings["low_freq_factor"], settings["high_freq_factor"]
    wavelength = 2 * math.pi / inverse
    blend = ((settings["original_max_position_embeddings"] / wavelength - low) / (high - low)).clamp(0, 1)
    return inverse * blend + inverse / factor * (1 - blend)
