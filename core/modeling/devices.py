"""Which device a person means, and which there is."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_warned: set[str] = set()


def usable_device(device: str | int | torch.device | None = None) -> torch.device:
    """ "auto" or None: CUDA, else MPS, else the CPU. A device this machine lacks: the CPU, with one warning a process."""
    if device is None or device in ("auto", "balanced", "sequential"):
        best = torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
        if best.type == "cpu" and device is not None:
            _warn("auto", "No GPU found: the model stays on the CPU.")
        return best
    wanted = (
        torch.device("cuda", device)
        if isinstance(device, int) and device >= 0
        else torch.device("cpu" if device == -1 else device)
    )
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}.get(wanted.type)
    if there is not None and not there():
        _warn(wanted.type, f"This machine has no {wanted.type.upper()} device: staying on the CPU.")
        return torch.device("cpu")
    return wanted


def _warn(key: str, message: str) -> None:
    if key not in _warned:
        _warned.add(key)
        warnings.warn(message, stacklevel=3)


@contextmanager
def unfilled() -> Iterator[None]:
    """Modules made inside have shapes but no memory, and nothing is drawn at random for them: PyTorch would load its compiler for that,
    which takes most of a second."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    DRAWN = ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_")

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.DRAWN:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
