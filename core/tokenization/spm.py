"""SentencePiece's `.model` files: a protobuf message (sentencepiece_model.proto), read here with every length checked.

ModelProto: pieces 1 (piece 1 string, score 2 float, type 3), trainer_spec 2 (model_type 3, byte_fallback 35, treat_whitespace_as_suffix 24,
unk_id 40), normalizer_spec 3 (precompiled_charsmap 2, add_dummy_prefix 3, remove_extra_whitespaces 4). All numbers are field numbers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import TokenizerError, printable

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2
LONGEST_PIECE = 512  # characters; the trainer's own limit is 16 by default, and BPE's merges cost the square of it


@dataclass
class Pieces:
    """A SentencePiece vocabulary, from a `.model` file or from a GGUF: pieces with score and type by id, and how a text is prepared."""

    tokens: list[str]
    scores: list[float]
    types: list[int]
    model: int = UNIGRAM
    charsmap: bytes = b""
    byte_fallback: bool = False
    dummy_prefix: bool = True
    strip_spaces: bool = True

    @property
    def unknown(self) -> int:
        """The id of the unknown piece, 0 where none is marked."""
        return self.types.index(UNKNOWN) if UNKNOWN in self.types else 0

    def check(self, path: Path) -> None:
        """Raise TokenizerError for what no tokenizer can be made of."""
        if not self.tokens:
            raise TokenizerError(f"{path} holds no pieces.")
        if len(set(self.tokens)) != len(self.tokens):
            twice = next(token for i, token in enumerate(self.tokens) if token in self.tokens[:i])
            raise TokenizerError(f"{path}: the piece '{printable(twice, 40)}' stands twice.")
        for token, score, kind in zip(self.tokens, self.scores, self.types, strict=True):
            if kind == NORMAL and not 0 < len(token) <= LONGEST_PIECE:
                raise TokenizerError(f"{path}: a piece has {len(token)} characters; between 1 and {LONGEST_PIECE} are possible.")
            if not token or not -1e9 < score < 1e9:
                raise TokenizerError(f"{path}: the piece '{printable(token, 40)}' with score {score} makes no sense.")
        if self.charsmap:
            check_charsmap(self.charsmap, path)


def read_pieces(path: Path) -> Pieces:
    """The vocabulary of a `.model` file. Raises TokenizerError naming file and fault."""
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        pieces = _model(data)
    except (ValueError, struct.error) as error:
        raise TokenizerError(f"{path} is not a SentencePiece model: {printable(str(error))}.") from error
    pieces.check(path)
    return pieces


def _model(data: memoryview) -> Pieces:
    pieces = Pieces([], [], [])
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(_bytes(value)))
            pieces.tokens.append(str(_bytes(piece.get(1, b"")), "utf-8"))
            pieces.scores.append(struct.unpack("<f", _bytes(piece.get(2, bytes(4))))[0])
            pieces.types.append(_integer(piece.get(3, NORMAL)))
        elif number == 2:
            trainer = dict(_fields(_bytes(value)))
            pieces.model = _integer(trainer.get(3, UNIGRAM))
            pieces.byte_fallback = bool(trainer.get(35, 0))
            if trainer.get(24, 0):
                raise ValueError("it writes spaces as suffixes, which is not supported")
        elif number == 3:
            rules = dict(_fields(_bytes(value)))
            pieces.charsmap = bytes(_bytes(rules.get(2, b"")))
            pieces.dummy_prefix, pieces.strip_spaces = bool(rules.get(3, 1)), bool(rules.get(4, 1))
    if pieces.model not in (UNIGRAM, BPE):
        raise ValueError(f"its model type {pieces.model} is neither unigram (1) nor BPE (2)")
    return pieces


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a message: an integer, or the bytes of a fixed-size or length-delimited field."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field has the unknown wire type {wire}")
        if size > len(data) - at:
            raise ValueError(f"a field claims {size} bytes where {len(data) - at} are left")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends inside a number")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError("a number is longer than 64 bits")


def _bytes(value: Any) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where bytes are expected")
    return memoryview(value)


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes stand where a number is expected")
    return value


def check_charsmap(charsmap: bytes, path: Path) -> None:
    """A normalisation table: 4 bytes of size, a double-array trie of that size, then texts that end in a zero byte.

    Every step that a lookup could take, and every text that it could yield, must lie inside. Raises TokenizerError.
    """
    size = struct.unpack("<I", charsmap[:4])[0] if len(charsmap) >= 4 else 0
    texts = charsmap[4 + size :]
    if size < 4 or size % 4 or size > len(charsmap) - 4:
        raise TokenizerError(f"{path}: its normalisation table claims {size} bytes of {len(charsmap)}.")
    try:
        texts.decode("utf-8")
    except UnicodeDecodeError:
        raise TokenizerError(f"{path}: its normalisation table holds texts that are not UTF-8.") from None
    if texts and texts[-1]:
        raise TokenizerError(f"{path}: its normalisation table ends inside a text.")
    units = np.frombuffer(charsmap, np.uint32, size // 4, 4).astype(np.int64)
    waiting, seen = [np.array([0])], np.zeros(len(units), bool)
    while waiting:
        nodes = waiting.pop()
        if len(nodes) > 512:  # keeps the table of children small
            waiting += [nodes[512:], nodes[:512]]
            continue
        seen[nodes] = True
        bases = nodes ^ ((units[nodes] >> 10) << ((units[nodes] & 0x200) >> 6))
        leaves = bases[(units[nodes] >> 8) & 1 == 1]
        children = (bases[:, None] ^ np.arange(1, 256)).ravel()
        if (leaves >= len(units)).any() or (children >= len(units)).any():
            raise TokenizerError(f"{path}: its normalisation table points outside itself.")
        if ((units[leaves] & 0x7FFFFFFF) >= max(1, len(texts))).any():
            raise TokenizerError(f"{path}: its normalisation table points behind its texts.")
        children = children[(units[children] & 0x800000FF) == np.tile(np.arange(1, 256), len(nodes))]
        if len(children := np.unique(children[~seen[children]])):
            seen[children] = True
            waiting.append(children)
