"""How the learning rate goes over the steps: a factor of its highest, by name."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from core.errors import TrainingError

Shape = Callable[[int], float]


def _rise(warm: int, after: Shape) -> Shape:
    """Linear over the warm-up, then another."""
    return lambda step: step / max(1, warm) if step < warm else after(step)


def _progress(warm: int, steps: int, shape: Callable[[float], float]) -> Shape:
    """A shape of how much after the warm-up is done."""
    return _rise(warm, lambda step: shape((step - warm) / max(1, steps - warm)))


def _linear(warm: int, steps: int, rate: float) -> Shape:
    return _progress(warm, steps, lambda done: max(0.0, 1.0 - done))


def _cosine(warm: int, steps: int, rate: float, num_cycles: float = 0.5) -> Shape:
    """Loshchilov & Hutter 2016."""
    return _progress(warm, steps, lambda done: max(0.0, 0.5 * (1.0 + math.cos(math.pi * num_cycles * 2.0 * done))))


def _restarts(warm: int, steps: int, rate: float, num_cycles: int = 1) -> Shape:
    """A cosine that begins again `num_cycles` times."""

    def shape(done: float) -> float:
        return 0.0 if done >= 1.0 else max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((num_cycles * done) % 1.0))))

    return _progress(warm, steps, shape)


def _least_cosine(
    warm: int, steps: int, rate: float, num_cycles: float = 0.5, min_lr: float | None = None, min_lr_rate: float | None = None
) -> Shape:
    """A cosine that ends at min_lr, or at this share of the highest."""
    if (min_lr is None) == (min_lr_rate is None):
        raise TypeError("cosine_with_min_lr needs one of min_lr and min_lr_rate")
    least = min_lr_rate if min_lr_rate is not None else (min_lr or 0.0) / rate
    cosine = _cosine(warm, steps, rate, num_cycles)
    return _rise(warm, lambda step: max(0.0, cosine(step) * (1 - least) + least))


def _polynomial(warm: int, steps: int, rate: float, lr_end: float = 1e-7, power: float = 1.0) -> Shape:
    if rate <= lr_end:
        raise TypeError(f"lr_end {lr_end} must be below the learning rate {rate}")

    def after(step: int) -> float:
        if step > steps:
            return lr_end / rate
        left = 1 - (step - warm) / max(1, steps - warm)
        return ((rate - lr_end) * left**power + lr_end) / rate

    return _rise(warm, after)


def _constant(warm: int, steps: int, rate: float) -> Shape:
    return lambda step: 1.0


def _warm_constant(warm: int, steps: int, rate: float) -> Shape:
    return _rise(warm, lambda step: 1.0)


def _inverse_sqrt(warm: int, steps: int, rate: float, timescale: int | None = None) -> Shape:
    """Zhai et al. 2022."""
    scale = timescale or warm or 10_000
    return _rise(warm, lambda step: 1.0 / math.sqrt((step + scale - warm) / scale))


PARTS: dict[str, Callable[[float], float]] = {
    "linear": lambda done: done,
    "cosine": lambda done: 0.5 * (1.0 - math.cos(math.pi * done)),
    "1-sqrt": lambda done: 1.0 - math.sqrt(1.0 - done),
}


def _warmup_stable_decay(
    warm: int,
    steps: int,
    rate: float,
    num_decay_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0.0,
    num_cycles: float = 0.5,
) -> Shape:
    """Hu et al. 2024. The last tenth decays where nobody says how much."""
    decay = num_decay_steps if num_decay_steps is not None else max(1, steps // 10)
    stable = num_stable_steps if num_stable_steps is not None else steps - warm - decay
    for kind in (warmup_type, decay_type):
        if kind not in PARTS:
            raise TypeError(f"'{kind}' is not known; known: {', '.join(PARTS)}")
    falls = {
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * num_cycles * 2.0 * done)),
        "1-sqrt": lambda done: 1.0 - math.sqrt(done),
    }

    def factor(step: int) -> float:
        if step < warm:
            part = PARTS[warmup_type](step / max(1, warm))
        elif step < warm + stable:
            return 1.0
        elif step < warm + stable + decay:
            part = falls[decay_type]((step - warm - stable) / max(1, decay))
        else:
            return min_lr_ratio
        return max(0.0, part * (1.0 - min_lr_ratio) + min_lr_ratio)

    return factor


SCHEDULES: dict[str, Callable[..., Shape]] = {
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _restarts,
    "cosine_with_min_lr": _least_cosine,
    "polynomial": _polynomial,
    "constant": _constant,
    "constant_with_warmup": _warm_constant,
    "inverse_sqrt": _inverse_sqrt,
    "warmup_stable_decay": _warmup_stable_decay,
}


def get_scheduler(
    name: str,
    optimizer: torch.optim.Optimizer,
    num_warmup_steps: int = 0,
    num_training_steps: int = 1,
    scheduler_specific_kwargs: dict[str, Any] | None = None,
) -> LambdaLR:
    """Rises over the warm-up, then goes as its name says. Raises TrainingError for an unknown name or setting."""
    name = str(getattr(name, "value", name))
    if name not in SCHEDULES:
        raise TrainingError(f"lr_scheduler_type '{name}' is not known; known: {', '.join(SCHEDULES)}.")
    rate = optimizer.defaults.get("lr", 0.0)
    try:
        shape = SCHEDULES[name](num_warmup_steps or 0, num_training_steps or 1, rate, **(scheduler_specific_kwargs or {}))
    except TypeError as error:
        raise TrainingError(f"lr_scheduler_kwargs of '{name}': {error}.") from None
    return LambdaLR(optimizer, shape)
