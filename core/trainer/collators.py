"""Rows -> one batch of tensors."""

from typing import Any

import torch

from core.errors import DataError

FILL = {"labels": -100, "attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1, "decoder_attention_mask": 0}
RENAMED = {"label": "labels", "label_ids": "labels"}
Rows = list[dict[str, Any]]


def plain_row(row: Any) -> dict[str, Any]:
    """A row as a dictionary of lists, numbers and texts; `label` and `label_ids` are called `labels`."""
    return {RENAMED.get(k) or k: row[k].tolist() if hasattr(row[k], "tolist") else row[k] for k in row.keys()}


def default_data_collator(features: list[Any], return_tensors: str = "pt") -> dict[str, torch.Tensor]:
    """Rows of equal shapes stacked; `label` and `label_ids` become `labels`, texts are left out. Raises DataError for rows of
    different lengths, naming the column."""
    rows = [{RENAMED.get(key, key): row[key] for key in row.keys()} for row in features]
    batch = {}
    for key, first in rows[0].items():
        if first is None or isinstance(first, str):
            continue
        try:
            batch[key] = torch.stack([torch.as_tensor(row[key]) for row in rows])
        except (RuntimeError, ValueError, KeyError):
            sizes = sorted({len(row[key]) for row in rows if key in row and hasattr(row[key], "__len__")})
            raise DataError(
                f"The rows' {key} cannot be stacked: they differ in length ({', '.join(map(str, sizes))}). Give the Trainer the "
                "tokenizer as processing_class, or a collator that pads."
            ) from None
    return batch


class DefaultDataCollator:
    """`default_data_collator` as an object."""

    def __call__(self, features: list[Any], return_tensors: str | None = None) -> dict[str, torch.Tensor]:
        """Rows -> a batch."""
        return default_data_collator(features)


class DataCollatorWithPadding:
    """Rows of token ids made even on the tokenizer's side: ids with the padding token, masks with 0, lists of labels with -100.

    padding: True or "longest" to the longest row, "max_length" to `max_length`. The length is rounded up to `pad_to_multiple_of`.
    """

    def __init__(
        self,
        tokenizer: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str = "pt",
    ) -> None:
        self.tokenizer, self.padding, self.max_length, self.pad_to_multiple_of = (
            tokenizer,
            padding,
            max_length,
            pad_to_multiple_of,
        )

    def length(self, lengths: list[int]) -> int:
        """How long the batch's rows become."""
        longest = self.max_length if self.padding == "max_length" and self.max_length else max(lengths)
        multiple = self.pad_to_multiple_of or 1
        return -(-longest // multiple) * multiple

    def padded(self, values: list[Any], length: int, fill: Any) -> list[Any]:
        """One row filled up."""
        extra = [fill] * (length - len(values))
        right = getattr(self.tokenizer, "padding_side", "right") == "right"
        return values + extra if right else extra + values

    def fill(self, key: str) -> int:
        """What a column is filled with."""
        pad = getattr(self.tokenizer, "pad_token_id", None)
        return FILL.get(key, pad if pad is not None else 0)

    def __call__(self, features: list[Any], return_tensors: str | None = None) -> dict[str, torch.Tensor]:
        """(batch, tokens) for each column."""
        rows = [plain_row(row) for row in features]
        name = "input_ids" if "input_ids" in rows[0] else next((k for k, v in rows[0].items() if isinstance(v, list)), None)
        if name is None:
            return default_data_collator(rows)
        length = self.length([len(row[name]) for row in rows])
        batch: dict[str, list[Any]] = {}
        for row in rows:
            if name == "input_ids":
                row.setdefault("attention_mask", [1] * len(row[name]))
            for key, value in row.items():
                if isinstance(value, list) and len(value) <= length and key in (name, *FILL, "position_ids", "token_type_ids"):
                    value = self.padded(value, length, self.fill(key))
                batch.setdefault(key, []).append(value)
        return {key: torch.tensor(values) for key, values in batch.items() if not isinstance(values[0], str | None)}


class DataCollatorForTokenClassification(DataCollatorWithPadding):
    """The same with a label a token; `label_pad_token_id` is no label."""

    def __init__(
        self,
        tokenizer: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        label_pad_token_id: int = -100,
        return_tensors: str = "pt",
    ) -> None:
        super().__init__(tokenizer, padding, max_length, pad_to_multiple_of)
        self.label_pad_token_id = label_pad_token_id

    def fill(self, key: str) -> int:
        """What a column is filled with."""
        return self.label_pad_token_id if key == "labels" else super().fill(key)


class DataCollatorForSeq2Seq(DataCollatorWithPadding):
    """Sources and targets, each made even for itself; with the model, the decoder's inputs too (targets shifted to the right)."""

    def __init__(
        self,
        tokenizer: Any,
        model: Any = None,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        label_pad_token_id: int = -100,
        return_tensors: str = "pt",
    ) -> None:
        super().__init__(tokenizer, padding, max_length, pad_to_multiple_of)
        self.model, self.label_pad_token_id = model, label_pad_token_id

    def __call__(self, features: list[Any], return_tensors: str | None = None) -> dict[str, torch.Tensor]:
        """(batch, source tokens) and labels (batch, target tokens)."""
        rows = [plain_row(row) for row in features]
        targets = [row.pop("labels", None) for row in rows]
        batch = super().__call__(rows)
        if targets[0] is None:
            return batch
        multiple = self.pad_to_multiple_of or 1
        length = -(-max(len(target) for target in targets) // multiple) * multiple
        batch["labels"] = torch.tensor([self.padded(list(t), length, self.label_pad_token_id) for t in targets])
        shift = getattr(self.model, "shift_right", None) or getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
        if shift is not None and "decoder_input_ids" not in batch:
            batch["decoder_input_ids"] = shift(batch["labels"])
        return batch
