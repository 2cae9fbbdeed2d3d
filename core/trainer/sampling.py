"""In which order an epoch goes through the rows, and which of them each process gets."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset

from core.errors import DataError

Batch = tuple[list[int], float]


def random_order(rows: int, seed: int, epoch: int) -> list[int]:
    """Follows from the seed and the epoch's number alone."""
    return torch.randperm(rows, generator=torch.Generator().manual_seed(seed + epoch)).tolist()


def grouped_order(lengths: list[int], size: int) -> list[int]:
    """Rows of like length side by side, in mega-batches of fifty batches, the longest first so that a lack of memory shows at once.
    Drawn from the global generator."""
    order = torch.randperm(len(lengths)).tolist()
    mega = max(1, min(len(lengths) // (size * 4), 50)) * size
    parts = [sorted(order[i : i + mega], key=lambda row: lengths[row], reverse=True) for i in range(0, len(order), mega)]
    longest = max(range(len(parts)), key=lambda part: lengths[parts[part][0]])
    parts[0][0], parts[longest][0] = parts[longest][0], parts[0][0]
    return [row for part in parts for row in part]


def row_lengths(dataset: Any, column: str) -> list[int]:
    """Tokens of each row: the column that says so, or the length of its input_ids. Raises DataError for rows with neither."""
    if column in (getattr(dataset, "column_names", None) or ()):
        return list(dataset[column])
    found = []
    for number in range(len(dataset)):
        row = dataset[number]
        if not hasattr(row, "keys") or not ({column, "input_ids"} & set(row.keys())):
            raise DataError(f"Row {number + 1} has neither {column} nor input_ids: its length is not known.")
        found.append(int(row[column]) if column in row.keys() else len(row["input_ids"]))
    return found


def shared_out(order: list[int], size: int, rank: int, ranks: int, drop_last: bool) -> list[Batch]:
    """This process's batches of `size` rows, and the weight of each batch's mean.

    A batch of all processes together is `size * ranks` rows of the order, each process taking the next `size` of them. The last may be
    smaller: it is dealt out evenly, and the weight is a process's share of it times the number of processes, so that the mean
    over the processes is that over the rows. A process that gets no row computes one with weight 0.
    """
    batches = []
    for begin in range(0, len(order), size * ranks):
        whole = order[begin : begin + size * ranks]
        if drop_last and len(whole) < size * ranks:
            break
        each = -(-len(whole) // ranks)
        own = whole[rank * each : (rank + 1) * each]
        batches.append((own or whole[:1], len(own) * ranks / len(whole)))
    return batches


class IterableRows(IterableDataset):
    """Rows that come one after the other, dealt out to the processes and the loader's workers; `first` of them are passed over."""

    def __init__(self, rows: Any, size: int, rank: int, ranks: int, first: int = 0) -> None:
        self.rows, self.size, self.rank, self.ranks, self.first = rows, size, rank, ranks, first

    def __iter__(self) -> Iterator[Any]:
        worker = torch.utils.data.get_worker_info()
        workers, own = (worker.num_workers, worker.id) if worker else (1, 0)
        for number, row in enumerate(self.rows):
            batch = number // self.size
            if number >= self.first and batch % self.ranks == self.rank and (batch // self.ranks) % workers == own:
                yield row


def has_length(dataset: Any) -> bool:
    """Whether rows can be counted and taken by number."""
    try:
        return len(dataset) is not None and hasattr(dataset, "__getitem__")
    except (TypeError, AttributeError):
        return False
