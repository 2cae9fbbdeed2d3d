"""Position schemes. Rotary: Su et al. 2021, with its stretchings (linear: Chen et al. 2023; dynamic: as published by bloc97
2023; YaRN: Peng et al. 2023; LongRoPE: Ding et al. 2024; Llama 3's as published with Llama 3.1). ALiBi: Press et al. 2021.
Learned vectors of distances: Shaw et al. 2018. Sinusoids: Vaswani et al. 2017, 3.5."""

import math
from typing import Any

import torch
from torch import nn

from core.errors import ConfigError


def rope_settings(config: Any, layer_type: str | None = None) -> dict[str, Any]:
    """The rope settings of either dialect of config.json: `rope_parameters` (for some families one set a layer type), or
    `rope_theta` with `rope_scaling`."""
    values = vars(config)
    settings = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    if layer_type and isinstance(settings.get(layer_type), dict):
        settings = dict(settings[layer_type])
    settings["rope_type"] = settings.pop("type", None) or settings.get("rope_type") or "default"
    settings.setdefault("rope_theta", values.get("rope_theta") or 10000.0)
    settings.setdefault("partial_rotary_factor", values.get("partial_rotary_factor") or 1.0)
    settings.setdefault("max_position_embeddings", values.get("max_position_embeddings"))
    if not settings.get("original_max_position_embeddings"):
        settings["original_max_position_embeddings"] = (
            values.get("original_max_position_embeddings") or settings["max_position_embeddings"]
        )
    return settings


class Rope:
    """Turns pairs (x_i, x_{i + d/2}) of each head by position * theta^(-2i/d); d is `partial_rotary_factor` of the head."""

    def __init__(self, head_dim: int, settings: dict[str, Any]) -> None:
        self.settings, self.kind = settings, settings["rope_type"]
        if self.kind not in STRETCHES:
            raise ConfigError(f"rope_type '{self.kind}' is not supported; known: {', '.join(STRETCHES)}.")
        self.width = int(head_dim * settings["partial_rotary_factor"])
        try:
            self.scale = _attention_factor(settings) if self.kind in ("yarn", "longrope") else 1.0
            self.inverse = self._frequencies(0)
        except KeyError as error:
            raise ConfigError(f"rope_type '{self.kind}' needs the key {error}.") from None

    @property
    def steady(self) -> bool:
        """Whether a position turns alike in texts of every length."""
        return self.kind not in ("dynamic", "longrope")

    def _frequencies(self, length: int) -> torch.Tensor:
        """(d / 2,): how fast each pair turns in a text of `length` tokens."""
        steps = torch.arange(0, self.width, 2, dtype=torch.int64, device="cpu").float() / self.width
        return STRETCHES[self.kind](self.settings["rope_theta"], steps, self.width, length, self.settings)

    def __call__(self, position_ids: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """position_ids (batch, tokens) -> cos and sin (batch, 1, tokens, d) in the dtype of `like`."""
        if not self.steady:
            inverse = self._frequencies(int(position_ids.max()) + 1).to(like.device)
        else:
            self.inverse = inverse = self.inverse.to(like.device)
        angles = position_ids[:, None, :, None].float() * inverse
        angles = torch.cat([angles, angles], -1)
        return (angles.cos() * self.scale).to(like.dtype), (angles.sin() * self.scale).to(like.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x (batch, heads, tokens, head_dim), its first d entries turned by its positions."""
    if (width := cos.shape[-1]) < x.shape[-1]:
        return torch.cat([rotate(x[..., :width], cos, sin), x[..., width:]], -1)
    first, second = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat([-second, first], -1), sin)


class Sinusoids(nn.Embedding):
    """A table of fixed positions: the sines, then the cosines, of waves from 2 pi to 10000 * 2 pi tokens long; `last` says whether the
    longest of the `width / 2` waves has that length or the one after it would have it."""

    def __init__(self, count: int, width: int, last: bool = False) -> None:
        self.last = last
        super().__init__(count, width, _freeze=True)

    def reset_parameters(self) -> None:
        """Compute the table."""
        waves = self.embedding_dim // 2
        steps = torch.arange(waves, dtype=torch.float64) / (waves - 1 if self.last else waves)
        angles = torch.arange(self.num_embeddings, dtype=torch.float64)[:, None] / 10000**steps
        with torch.no_grad():
            self.weight.copy_(torch.cat([angles.sin(), angles.cos()], 1))
        self.weight.requires_grad_(False)


def alibi_slopes(heads: int) -> torch.Tensor:
    """(heads,): how much a key loses a step of distance. 2^(-8/n) and its powers for n heads, n a power of two; what is
    missing to another number comes from between those of 2n."""
    whole = 2 ** math.floor(math.log2(heads))
    powers = [2 ** (-8 / whole * (i + 1)) for i in range(whole)]
    between = [2 ** (-4 / whole * (2 * i + 1)) for i in range(heads - whole)]
    return torch.tensor(powers + between)


def distances(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """(q, k): how many tokens key j stands before query i, which is the (keys - queries + i)-th token; negative where after it."""
    return torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)


def read_distances(x: torch.Tensor, table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The product of each vector x (batch, heads, tokens, d) with the row of a table (rows, d), or of one a head (heads, rows, d), that
    stands for its distance to each other token: rows (tokens, others) -> (batch, heads, tokens, others). Shaw et al. 2018."""
    products = x @ table.transpose(-1, -2)
    return products.gather(-1, rows.expand(*x.shape[:-1], -1))


# ---------------------------------------------------------------- stretchings: (theta, steps, width, length, settings) -> (d/2,)


def _default(theta: float, steps: torch.Tensor, width: int, length: int, settings: dict[str, Any]) -> torch.Tensor:
    return 1.0 / theta**steps


def _linear(theta: float, steps: torch.Tensor, width: int, length: int, settings: dict[str, Any]) -> torch.Tensor:
    return 1.0 / theta**steps / settings["factor"]


def _dynamic(theta: float, steps: torch.Tensor, width: int, length: int, settings: dict[str, Any]) -> torch.Tensor:
    """Theta grows with a text longer than those of the training."""
    factor, limit = settings["factor"], settings["max_position_embeddings"]
    growth = factor * max(length, limit) / limit - (factor - 1)
    return 1.0 / (theta * growth ** (width / (width - 2))) ** steps


def _yarn(theta: float, steps: torch.Tensor, width: int, length: int, settings: dict[str, Any]) -> torch.Tensor:
    """Slow pairs are stretched, fast ones left alone, a ramp between."""
    factor, limit = _factor(settings), settings["original_max_position_embeddings"]

    def pair_of(turns: float) -> float:
        """Which pair makes so many turns in the original length."""
        return width * math.log(limit / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_of(settings.get("beta_fast") or 32), pair_of(settings.get("beta_slow") or 1)
    if settings.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = ((torch.arange(width // 2, device="cpu").float() - low) / (high - low or 0.001)).clamp(0, 1)
    inverse = 1.0 / theta**steps
    return inverse * (1 - ramp) + inverse / factor * ramp


def _longrope(theta: float, steps: torch.Tensor, width: int, length: int, settings: dict[str, Any]) -> torch.Tensor:
    """Each pair has a factor of its own, one for short texts and one for long."""
    long = length > settings["original_max_position_embeddings"]
    factors = settings["long_factor" if long else "short_factor"]
    return 1.0 / (torch.tensor(factors, dtype=torch.float32, device="cpu") * theta**steps)


def _llama3(theta: float, steps: torch.Tensor, width: int, length: int, settings: dict[str, Any]) -> torch.Tensor:
    """Long waves are slowed by `factor`, short ones left alone, those between blended."""
    factor, low, high = settings["factor"], settings["low_freq_factor"], settings["high_freq_factor"]
    inverse = 1.0 / theta**steps
    wavelength = 2 * math.pi / inverse
    blend = ((settings["original_max_position_embeddings"] / wavelength - low) / (high - low)).clamp(0, 1)
    return inverse * blend + inverse / factor * (1 - blend)


STRETCHES = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "longrope": _longrope,
    "llama3": _llama3,
}


def _factor(settings: dict[str, Any]) -> float:
    """By how much the text may be longer than those of the training."""
    return settings.get("factor") or settings["max_position_embeddings"] / settings["original_max_position_embeddings"]


def _attention_factor(settings: dict[str, Any]) -> float:
    """What cos and sin are multiplied by, so that attention over a longer text stays as sharp."""
    if settings.get("attention_factor") is not None:
        return settings["attention_factor"]
    factor = _factor(settings)
    if factor <= 1:
        return 1.0
    if settings["rope_type"] == "longrope":
        return math.sqrt(1 + math.log(factor) / math.log(settings["original_max_position_embeddings"]))
    above, below = settings.get("mscale"), settings.get("mscale_all_dim")
    if above and below:
        return (0.1 * above * math.log(factor) + 1) / (0.1 * below * math.log(factor) + 1)
    return 0.1 * math.log(factor) + 1
