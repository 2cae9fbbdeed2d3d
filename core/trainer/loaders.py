"""Rows -> batches: the loaders of a training and of an evaluation."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from core.errors import DataError, TrainingError, VitrineError
from core.trainer.distributed import world
from core.trainer.packing import PackedRows
from core.trainer.sampling import IterableRows, grouped_order, has_length, random_order, row_lengths, shared_out


@dataclass
class Plan:
    """How long a training is. batches: of an epoch, in each process; None where nobody can count them."""

    batches: int | None
    steps_per_epoch: int
    epochs: int
    max_steps: int


class Picked:
    """A batch sampler that was decided before."""

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Keeping:
    """A collator that first leaves out the columns which the model does not take."""

    def __init__(self, collate: Callable[[list[Any]], Any], columns: set[str], model: str) -> None:
        self.collate, self.columns, self.model = collate, columns, model

    def __call__(self, rows: list[Any]) -> Any:
        """Rows -> a batch. Raises DataError where nothing is left, naming what there was."""
        if hasattr(rows[0], "keys"):
            kept = [{key: row[key] for key in row.keys() if key in self.columns} for row in rows]
            if not kept[0]:
                has = ", ".join(map(str, rows[0].keys())) or "none"
                raise DataError(f"The rows have no column that {self.model} takes; they have: {has}. Tokenize them first.")
            rows = kept
        return self.collate(rows)


def options(args: Any) -> dict[str, Any]:
    """The loader's settings that the arguments name."""
    pinned = args.dataloader_pin_memory and torch.cuda.is_available() and not args.use_cpu
    found: dict[str, Any] = {
        "num_workers": args.dataloader_num_workers,
        "pin_memory": pinned,
        # its own generator: a resumed epoch reads its data without drawing once more
        "generator": torch.Generator().manual_seed(args.seed),
    }
    if args.dataloader_num_workers:
        found |= {"persistent_workers": args.dataloader_persistent_workers, "prefetch_factor": args.dataloader_prefetch_factor}
    return found


def told(loader: Any) -> Iterator[Any]:
    """A loader's batches. What goes wrong in one of its workers is the same one sentence as here, without the worker's traceback."""
    try:
        yield from loader
    except VitrineError as error:
        lines = str(error).strip().splitlines()
        raise error if len(lines) < 2 else type(error)(lines[-1].partition(": ")[2]) from None


def draw() -> None:
    """One number of the global generator, as the reference's loaders draw it whenever they begin: so that what drops out later is
    the same."""
    torch.empty((), dtype=torch.int64).random_()


def plan(args: Any, dataset: Any) -> Plan:
    """Raises TrainingError where there is nothing to train on, or no end in sight."""
    if dataset is None or (has_length(dataset) and not len(dataset)):
        raise TrainingError("There are no rows to train on.")
    each = args.per_device_train_batch_size * world()[1]
    try:
        rows = len(dataset)
    except TypeError:
        if args.max_steps <= 0:
            raise TrainingError("Rows without a length need max_steps: nobody can say how long an epoch is.") from None
        return Plan(None, args.max_steps, 2**31, args.max_steps)
    batches = rows // each if args.dataloader_drop_last else math.ceil(rows / each)
    if not batches:
        raise TrainingError("There are fewer rows than one batch, and dataloader_drop_last leaves them out.")
    steps = math.ceil(batches / args.gradient_accumulation_steps)
    if args.max_steps > 0:
        return Plan(batches, steps, math.ceil(args.max_steps / steps), args.max_steps)
    return Plan(batches, steps, math.ceil(args.num_train_epochs), math.ceil(args.num_train_epochs * steps))


def epoch_order(args: Any, dataset: Any, epoch: int) -> list[int]:
    """The rows' numbers as this epoch goes through them."""
    draw()
    if args.train_sampling_strategy == "sequential":
        return list(range(len(dataset)))
    if args.train_sampling_strategy == "group_by_length":
        size = args.per_device_train_batch_size * args.gradient_accumulation_steps * world()[1]
        return grouped_order(row_lengths(dataset, args.length_column_name), size)
    return random_order(len(dataset), args.seed if args.data_seed is None else args.data_seed, epoch)


def train_loader(
    args: Any, dataset: Any, collate: Callable[[list[Any]], Any], order: list[int] | None, skip: int
) -> tuple[DataLoader, Iterator[float]]:
    """An epoch's batches for this process, without the first `skip`, and the weight of each. order: None for rows that come one
    after the other."""
    size, (rank, ranks) = args.per_device_train_batch_size, world()
    if order is None:
        if not skip:
            draw()
        rows = IterableRows(dataset, size, rank, ranks, skip * size * ranks)
        loader = DataLoader(rows, batch_size=size, collate_fn=collate, drop_last=args.dataloader_drop_last, **options(args))
        return loader, iter(lambda: 1.0, None)
    batches = shared_out(order, size, rank, ranks, args.dataloader_drop_last)[skip:]
    sampler: Any = Picked([rows for rows, _ in batches])
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, **options(args))
    return loader, iter([weight for _, weight in batches])


def eval_loader(args: Any, dataset: Any, collate: Callable[[list[Any]], Any]) -> DataLoader:
    """Batches in the order of the rows, this process's part."""
    draw()
    size, (rank, ranks) = args.per_device_eval_batch_size, world()
    if has_length(dataset):
        batches = shared_out(list(range(len(dataset))), size, rank, ranks, False)
        sampler: Any = Picked([rows for rows, _ in batches])
        return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, **options(args))
    return DataLoader(IterableRows(dataset, size, rank, ranks), batch_size=size, collate_fn=collate, **options(args))


def packed(args: Any, dataset: Any, shifts: bool) -> Any:
    """The rows as they are, or several in one where `packing` says so. Raises TrainingError where that makes no sense."""
    if not args.packing:
        return dataset
    if not shifts:
        raise TrainingError("packing is for models that predict the next token.")
    if not has_length(dataset):
        raise TrainingError("packing needs rows that can be counted.")
    return PackedRows(dataset, args.packing_length)
