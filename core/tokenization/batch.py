"""What a tokenizer returns: named rows of ids, masks and offsets, as lists or tensors."""

from collections import UserDict
from typing import Any, Self

import numpy as np
import torch
from tokenizers import Encoding

from core.errors import TokenizerError
from core.modeling.devices import usable_device


class BatchEncoding(UserDict):
    """A dictionary whose keys are attributes too; with the encodings it was made from, for offsets and words."""

    def __init__(self, data: dict[str, Any], encodings: list[Encoding] | None = None, tensor_type: str | None = None) -> None:
        super().__init__(data)
        self.encodings = encodings or []
        self.convert_to_tensors(tensor_type)

    def __getattr__(self, name: str) -> Any:
        if name != "data" and name in self.data:
            return self.data[name]
        raise AttributeError(name)

    def __getitem__(self, key: Any) -> Any:
        return self.encodings[key] if isinstance(key, int) else self.data[key]

    def convert_to_tensors(self, tensor_type: str | None = None) -> Self:
        """Lists -> "pt" tensors or "np" arrays of (batch, tokens). Raises TokenizerError where rows differ in length."""
        if tensor_type is None:
            return self
        if tensor_type not in ("pt", "np"):
            raise TokenizerError(f"return_tensors must be 'pt' or 'np', not {tensor_type!r}.")
        for key, value in self.data.items():
            try:
                self.data[key] = torch.tensor(value) if tensor_type == "pt" else np.array(value)
            except ValueError:
                raise TokenizerError(
                    "The rows differ in length and make no tensor: add padding=True, and truncation=True where some are too long."
                ) from None
        return self

    def to(self, device: Any) -> Self:
        """Move the tensors; a device this machine lacks is warned about once and the CPU kept."""
        place = usable_device(device)
        self.data = {key: value.to(place) if isinstance(value, torch.Tensor) else value for key, value in self.data.items()}
        return self

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row."""
        return self.encodings[batch_index].tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row the word it belongs to."""
        return self.encodings[batch_index].word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row which text of the pair it belongs to."""
        return self.encodings[batch_index].sequence_ids

    def char_to_token(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The token that holds a character."""
        row, char = (0, batch_or_char_index) if char_index is None else (batch_or_char_index, char_index)
        return self.encodings[row].char_to_token(char, sequence_index)
