"""What a model says of rows, and how good that is."""

import inspect
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from core.errors import TrainingError
from core.trainer.distributed import gathered, world
from core.trainer.loaders import told
from core.trainer.sampling import has_length

Arrays = Any  # an array, or a tuple of them
FILL = -100  # where a row of a batch, or of all batches, has ended


class EvalPrediction:
    """What compute_metrics gets: predictions and label_ids, arrays or tuples of them; inputs and losses where
    `include_for_metrics` names them. It unpacks as a tuple."""

    def __init__(self, predictions: Arrays, label_ids: Arrays, inputs: Arrays = None, losses: Arrays = None) -> None:
        self.predictions, self.label_ids, self.inputs, self.losses = predictions, label_ids, inputs, losses
        self.elements = (predictions, label_ids, *(extra for extra in (inputs, losses) if extra is not None))

    def __iter__(self) -> Any:
        return iter(self.elements)

    def __getitem__(self, index: int) -> Arrays:
        return self.elements[index]


class PredictionOutput(NamedTuple):
    """What `predict` returns."""

    predictions: Arrays
    label_ids: Arrays
    metrics: dict[str, float]


class Collected(NamedTuple):
    """One batch's answers as arrays, and how many rows it has."""

    rows: int
    loss: float | None
    predictions: Arrays
    labels: Arrays
    inputs: Arrays


def joined(parts: list[Arrays], fill: float = FILL) -> Arrays:
    """Batches as one array; those that differ in their second dimension are filled up on the right."""
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    if isinstance(parts[0], tuple):
        return tuple(joined(list(place), fill) for place in zip(*parts, strict=True))
    arrays = [np.atleast_1d(part) for part in parts]
    if arrays[0].ndim > 1:
        width = max(array.shape[1] for array in arrays)
        rest = [(0, 0)] * (arrays[0].ndim - 2)
        arrays = [
            np.pad(a, [(0, 0), (0, width - a.shape[1]), *rest], constant_values=fill) if a.shape[1] < width else a for a in arrays
        ]
    return np.concatenate(arrays)


def as_arrays(thing: Any) -> Arrays:
    """Tensors, nested in tuples, as arrays on the CPU; half precision as float32."""
    if isinstance(thing, tuple | list):
        return tuple(as_arrays(part) for part in thing if part is not None)
    if torch.is_tensor(thing):
        thing = thing.detach().cpu()
        return (thing.float() if thing.dtype in (torch.bfloat16, torch.float16) else thing).numpy()
    return thing


def run(trainer: Any, dataset: Any, loader: Any, loss_only: bool, ignore_keys: list[str] | None, prefix: str) -> PredictionOutput:
    """The evaluation loop: every batch through `prediction_step`, then compute_metrics on all of them. Raises TrainingError where
    there are no rows."""
    args, ranks, begun = trainer.args, world()[1], time.time()
    trainer.callback_handler_extra["eval_dataloader"] = loader
    found: list[Collected] = []
    for inputs in told(loader):
        loss, logits, labels = trainer.prediction_step(trainer.model, inputs, loss_only, ignore_keys=ignore_keys)
        if logits is not None and trainer.preprocess_logits_for_metrics is not None:
            logits = trainer.preprocess_logits_for_metrics(logits, labels)
        first = next(value for value in inputs.values() if hasattr(value, "__len__"))
        ids = inputs.get("input_ids") if "inputs" in args.include_for_metrics else None
        found.append(
            Collected(len(first), None if loss is None else float(loss), as_arrays(logits), as_arrays(labels), as_arrays(ids))
        )
        trainer.tell("on_prediction_step")
    if ranks > 1:
        found = dealt_back(gathered(found))
        if has_length(dataset):
            found = trimmed(found, len(dataset))
    if not found:
        raise TrainingError("There are no rows to evaluate on.")
    predictions, labels = joined([part.predictions for part in found]), joined([part.labels for part in found])
    losses = np.concatenate([np.full(part.rows, np.nan if part.loss is None else part.loss) for part in found])
    metrics: dict[str, Any] = {}
    if trainer.compute_metrics is not None and predictions is not None and labels is not None:
        inputs = joined([part.inputs for part in found])
        kept = losses if "loss" in args.include_for_metrics else None
        metrics = dict(trainer.compute_metrics(EvalPrediction(predictions, labels, inputs, kept)))
    if found[0].loss is not None:
        metrics[f"{prefix}_loss"] = float(losses.mean())
    named = {name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": plain(value) for name, value in metrics.items()}
    rows, seconds = len(losses), max(1e-9, time.time() - begun)
    named |= {
        f"{prefix}_runtime": round(seconds, 4),
        f"{prefix}_samples_per_second": round(rows / seconds, 3),
        f"{prefix}_steps_per_second": round(len(found) / seconds, 3),
    }
    return PredictionOutput(predictions, labels, named)


def plain(value: Any) -> Any:
    """A number of NumPy or PyTorch as Python's."""
    return value.item() if (hasattr(value, "item") and getattr(value, "size", 1) in (1,)) or torch.is_tensor(value) else value


def dealt_back(by_rank: list[list[Collected]]) -> list[Collected]:
    """The processes' batches in the order of the rows."""
    longest = max(len(own) for own in by_rank)
    return [own[i] for i in range(longest) for own in by_rank if i < len(own)]


def trimmed(found: list[Collected], rows: int) -> list[Collected]:
    """Without the rows that filled up the last batches."""
    kept, left = [], rows
    for part in found:
        take = min(part.rows, left)
        left -= take
        if take == part.rows:
            kept.append(part)
        elif take:
            cut = [first_rows(array, take) for array in part[2:]]
            kept.append(Collected(take, part.loss, *cut))
    return kept


def first_rows(arrays: Arrays, count: int) -> Arrays:
    """Of an array, or of each of a tuple."""
    return (
        tuple(first_rows(a, count) for a in arrays) if isinstance(arrays, tuple) else None if arrays is None else arrays[:count]
    )


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes an argument of this name."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
