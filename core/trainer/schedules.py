"""How the learning rate goes over the steps."""

import math
from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LambdaLR

from core.errors import TrainingError


def _linear(progress: float) -> float:
    return max(0.0, 1.0 - progress)


def _cosine(progress: float) -> float:
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "constant": lambda progress: 1.0,
    "constant_with_warmup": lambda progress: 1.0,
}


def get_scheduler(
    name: str, optimizer: torch.optim.Optimizer, num_warmup_steps: int = 0, num_training_steps: int = 1
) -> LambdaLR:
    """Rises over the warm-up, then goes as its name says. Raises TrainingError for an unknown name."""
    name = str(getattr(name, "value", name))
    if name not in SCHEDULES:
        raise TrainingError(f"lr_scheduler_type '{name}' is not known; known: {', '.join(SCHEDULES)}.")
    shape = SCHEDULES[name]
    warm = 0 if name == "constant" else num_warmup_steps

    def factor(step: int) -> float:
        if step < warm:
            return step / max(1, warm)
        return shape((step - warm) / max(1, num_training_steps - warm))

    return LambdaLR(optimizer, factor)
