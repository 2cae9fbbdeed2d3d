"""Several short rows in one, without cross-talk: each reads itself alone, and its positions begin at 0. Krell et al. 2021."""

from typing import Any

import torch

from core.errors import DataError


def bins(lengths: list[int], capacity: int) -> list[list[int]]:
    """Rows' numbers by bin: the longest first, each into the fullest bin that has room for it."""
    by_room: dict[int, list[int]] = {}
    found: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        need = lengths[row]
        room = min((room for room, waiting in by_room.items() if room >= need and waiting), default=None)
        if room is None:
            found.append([])
            place, room = len(found) - 1, capacity
        else:
            place = by_room[room].pop()
        found[place].append(row)
        by_room.setdefault(room - need, []).append(place)
    return found


class PackedRows:
    """A data set whose rows are those of another, put together up to `capacity` tokens (its longest row's where None).

    A row has input_ids, labels, position_ids and segment: which of the rows within it a token belongs to. Raises DataError for a
    row longer than `capacity`.
    """

    def __init__(self, dataset: Any, capacity: int | None = None) -> None:
        self.dataset = dataset
        lengths = [len(dataset[i]["input_ids"]) for i in range(len(dataset))]
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        self.capacity = capacity or lengths[longest]
        if lengths[longest] > self.capacity:
            raise DataError(
                f"Row {longest + 1} has {lengths[longest]} tokens, a packed row holds {self.capacity}: raise packing_length."
            )
        self.bins = bins(lengths, self.capacity)

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        joined: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": [], "segment": []}
        for number, row in enumerate(self.bins[index]):
            ids, labels = (list(self.dataset[row][name]) for name in ("input_ids", "labels"))
            joined["input_ids"] += ids
            joined["labels"] += [-100, *labels[1:]]  # a row's first token follows nothing
            joined["position_ids"] += range(len(ids))
            joined["segment"] += [number] * len(ids)
        return joined


class PackedCollator:
    """Packed rows -> a batch whose attention_mask (batch, 1, tokens, tokens) lets a token read those of its own row alone."""

    def __init__(self, pad: int = 0) -> None:
        self.pad = pad

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Filled up on the right."""
        length = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": self.pad, "labels": -100, "position_ids": 0, "segment": -1}
        batch = {name: torch.tensor([row[name] + [fill[name]] * (length - len(row[name])) for row in rows]) for name in fill}
        segment = batch.pop("segment")
        same = segment[:, :, None] == segment[:, None, :]
        return {**batch, "attention_mask": same.tril()[:, None]}
