"""What a tokenizer returns: named rows of ids, masks and offsets, as lists or tensors."""

from collections import UserDict
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from tokenizers import Encoding

from core.errors import TokenizerError
from core.modeling.devices import usable_device


class Span(NamedTuple):
    """From `start` up to, and without, `end`."""

    start: int
    end: int


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
            if isinstance(value, torch.Tensor | np.ndarray):
                continue
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

    # ------------------------------------------------------------------ where a token, a word or a character is

    @property
    def is_fast(self) -> bool:
        """Whether offsets and words are known."""
        return bool(self.encodings)

    @property
    def n_sequences(self) -> int | None:
        """1 for texts, 2 for pairs."""
        return self.encodings[0].n_sequences if self.encodings else None

    def _row(self, row: int) -> Encoding:
        if not self.encodings:
            raise TokenizerError("These rows were not made from texts, so their words and characters are not known.")
        return self.encodings[row]

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row."""
        return self._row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row the word it belongs to."""
        return self._row(batch_index).word_ids

    words = word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row which text of the pair it belongs to."""
        return self._row(batch_index).sequence_ids

    # Each of these takes (index) for the only row, or (row, index).

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Which text of the pair a token belongs to."""
        row, at = _where(batch_or_token_index, token_index)
        return self._row(row).token_to_sequence(at)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The word a token belongs to."""
        row, at = _where(batch_or_token_index, token_index)
        return self._row(row).token_to_word(at)

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> Span | None:
        """The characters of a token."""
        row, at = _where(batch_or_token_index, token_index)
        return _span(self._row(row).token_to_chars(at))

    def word_to_tokens(self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0) -> Span | None:
        """The tokens of a word."""
        row, at = _where(batch_or_word_index, word_index)
        return _span(self._row(row).word_to_tokens(at, sequence_index))

    def word_to_chars(self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0) -> Span | None:
        """The characters of a word."""
        row, at = _where(batch_or_word_index, word_index)
        return _span(self._row(row).word_to_chars(at, sequence_index))

    def char_to_token(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The token that holds a character."""
        row, at = _where(batch_or_char_index, char_index)
        return self._row(row).char_to_token(at, sequence_index)

    def char_to_word(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The word that holds a character."""
        row, at = _where(batch_or_char_index, char_index)
        return self._row(row).char_to_word(at, sequence_index)


def _where(first: int, second: int | None) -> tuple[int, int]:
    return (0, first) if second is None else (first, second)


def _span(found: tuple[int, int] | None) -> Span | None:
    return None if found is None else Span(*found)
