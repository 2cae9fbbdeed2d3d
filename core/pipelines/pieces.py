"""What goes into a pipeline, through it, and out of it."""

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Piece:
    """What the model is given of one input. inputs: tensors of (length, …), without a batch; facts: what the result has to know
    of them; cut: how many tokens the model is not shown; size: how much there is to compute, where it is not the first length."""

    inputs: dict[str, torch.Tensor]
    facts: Any = None
    cut: int = 0
    size: int | None = None

    @property
    def length(self) -> int:
        """Tokens, samples, rows."""
        return len(next(iter(self.inputs.values()))) if self.size is None else self.size


@dataclass(frozen=True)
class Progress:
    """How many pieces are done; of how many, where that is known."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Result:
    """The result of the input of this number; `cut`: how many of its tokens the model could not read."""

    index: int
    value: Any
    cut: int = field(default=0)


class KeyDataset:
    """One column of a data set of dictionaries: `pipe(KeyDataset(rows, "text"))`."""

    def __init__(self, dataset: Any, key: str) -> None:
        self.dataset, self.key = dataset, key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index][self.key]


class Stopped(Exception):
    """Raised within a batch that is not to be finished."""


def is_stream(inputs: Any) -> bool:
    """A generator or a data set, rather than one input: what can be gone through, and is none of the kinds that inputs are of."""
    if isinstance(inputs, str | bytes | bytearray | memoryview | dict | list | tuple | torch.Tensor) or hasattr(
        inputs, "__array__"
    ):
        return False
    return hasattr(inputs, "__next__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))
