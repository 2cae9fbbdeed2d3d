"""Rows -> one batch of tensors."""

from typing import Any

import torch

FILL = {"labels": -100, "attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}


def default_data_collator(rows: list[dict[str, Any]], return_tensors: str = "pt") -> dict[str, torch.Tensor]:
    """Rows of equal lengths stacked; `label` and `label_ids` become `labels`."""
    renamed = [{("labels" if key in ("label", "label_ids") else key): value for key, value in row.items()} for row in rows]
    keys = [key for key, value in renamed[0].items() if value is not None and not isinstance(value, str)]
    return {key: torch.stack([torch.as_tensor(row[key]) for row in renamed]) for key in keys}


class DataCollatorWithPadding:
    """Rows of token ids made even on the tokenizer's side: labels with -100, ids with the padding token."""

    def __init__(self, tokenizer: Any, pad_to_multiple_of: int | None = None) -> None:
        self.tokenizer, self.multiple = tokenizer, pad_to_multiple_of

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """(batch, tokens) for each key."""
        rows = [{k: v.tolist() if hasattr(v, "tolist") else v for k, v in row.items()} for row in rows]
        length = max(len(row["input_ids"]) for row in rows)
        if self.multiple:
            length = -(-length // self.multiple) * self.multiple
        pad = getattr(self.tokenizer, "pad_token_id", None) or 0
        right = getattr(self.tokenizer, "padding_side", "right") == "right"
        batch: dict[str, list[Any]] = {}
        for row in rows:
            row.setdefault("attention_mask", [1] * len(row["input_ids"]))
            for key, value in row.items():
                key = "labels" if key in ("label", "label_ids") else key
                if isinstance(value, list):
                    extra = [FILL.get(key, pad)] * (length - len(value))
                    value = value + extra if right else extra + value
                batch.setdefault(key, []).append(value)
        return {key: torch.tensor(values) for key, values in batch.items() if not isinstance(values[0], str)}
