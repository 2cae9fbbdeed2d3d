"""GGUF, versions 2 and 3, little-endian: metadata, then tensors in blocks. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Every count and length is checked against the file before anything is read or allocated.
"""

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from core.errors import CheckpointError, printable

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


def _halves(blocks: np.ndarray, at: int) -> np.ndarray:
    """The fp16 number at this byte of each block -> (blocks, 1) float32."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """(blocks, 16) bytes -> (blocks, 32): the low halves, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], 1)


def _fifth_bits(packed: np.ndarray) -> np.ndarray:
    """(blocks, 4) bytes -> (blocks, 32) bits, as 16 or 0."""
    return np.unpackbits(np.ascontiguousarray(packed), axis=1, bitorder="little") << 4


def _q4_0(b: np.ndarray) -> np.ndarray:
    return (_nibbles(b[:, 2:]).astype(np.float32) - 8) * _halves(b, 0)


def _q4_1(b: np.ndarray) -> np.ndarray:
    return _nibbles(b[:, 4:]).astype(np.float32) * _halves(b, 0) + _halves(b, 2)


def _q5_0(b: np.ndarray) -> np.ndarray:
    return ((_nibbles(b[:, 6:]) | _fifth_bits(b[:, 2:6])).astype(np.float32) - 16) * _halves(b, 0)


def _q5_1(b: np.ndarray) -> np.ndarray:
    return (_nibbles(b[:, 8:]) | _fifth_bits(b[:, 4:8])).astype(np.float32) * _halves(b, 0) + _halves(b, 2)


def _q8_0(b: np.ndarray) -> np.ndarray:
    return b[:, 2:].view(np.int8).astype(np.float32) * _halves(b, 0)


@dataclass(frozen=True)
class Kind:
    """A tensor type: `size` bytes hold `count` numbers; a plain dtype, or blocks and how they unpack."""

    name: str
    size: int
    count: int = 1
    dtype: torch.dtype | None = None
    unpack: Callable[[np.ndarray], np.ndarray] | None = None


KINDS = {
    0: Kind("F32", 4, dtype=torch.float32),
    1: Kind("F16", 2, dtype=torch.float16),
    30: Kind("BF16", 2, dtype=torch.bfloat16),
    2: Kind("Q4_0", 18, 32, unpack=_q4_0),
    3: Kind("Q4_1", 20, 32, unpack=_q4_1),
    6: Kind("Q5_0", 22, 32, unpack=_q5_0),
    7: Kind("Q5_1", 24, 32, unpack=_q5_1),
    8: Kind("Q8_0", 34, 32, unpack=_q8_0),
}


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor stands; `shape` in torch's order, `offset` from the start of the file."""

    shape: tuple[int, ...]
    kind: Kind
    offset: int
    size: int


class GGUFFile:
    """One .gguf file: `metadata`, `tensors`, `load`. Raises CheckpointError naming the file and the fault."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self._size = file.seek(0, 2)
                if self._size < 24:
                    raise self._fault(f"it has only {self._size} bytes")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        self._at = 0
        if self._take(4) != b"GGUF":
            raise self._fault("it does not begin with 'GGUF'")
        version = self._number("I")
        if version not in (2, 3):
            raise self._fault(f"its version {version} is neither 2 nor 3 (or the file is big-endian)")
        tensors, pairs = self._count(self._number("Q"), 24), self._count(self._number("Q"), 12)
        self.metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._string()
            if key in self.metadata:
                raise self._fault(f"the key '{key}' stands twice")
            self.metadata[key] = self._value(self._number("I"))
        heads = [self._tensor_head() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise self._fault(f"its alignment {alignment!r} makes no sense")
        start = -(-self._at // alignment) * alignment
        self.tensors: dict[str, TensorInfo] = {}
        for name, shape, number, offset in heads:
            if name in self.tensors:
                raise self._fault(f"the tensor '{name}' stands twice")
            self.tensors[name] = self._info(name, shape, number, start + offset)
        self._check_overlaps()

    # ------------------------------------------------------------------ tensors

    def names(self) -> list[str]:
        """Tensors in the file."""
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor, in torch's order."""
        return self.tensors[name].shape

    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor, blocks unpacked to float32, then to `dtype`."""
        info = self.tensors[name]
        raw = np.frombuffer(self._map, np.uint8, info.size, info.offset)
        if info.kind.unpack is None:
            tensor = torch.from_numpy(raw.copy()).view(info.kind.dtype or torch.float32)
        else:
            tensor = torch.from_numpy(info.kind.unpack(raw.reshape(-1, info.kind.size)))
        return tensor.view(info.shape).to(dtype or (torch.float32 if info.kind.unpack else tensor.dtype))

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ------------------------------------------------------------------ the header

    def _fault(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is not a whole GGUF file: {printable(what)}.")

    def _take(self, size: int) -> bytes:
        if size > self._size - self._at:
            raise self._fault(f"at byte {self._at} it claims {size} more, it has {self._size - self._at}")
        self._at += size
        return self._map[self._at - size : self._at]

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}")))[0]

    def _count(self, count: int, least: int) -> int:
        """A count of things that take at least so many bytes each."""
        if count * least > self._size - self._at:
            raise self._fault(f"at byte {self._at} it claims {count} entries, more than its {self._size} bytes can hold")
        return count

    def _string(self) -> str:
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind in SCALARS:
            return self._number(SCALARS[kind])
        if kind == STRING:
            return self._string()
        if kind != ARRAY or depth > 3:
            raise self._fault(f"at byte {self._at} stands a value of the unknown kind {kind}")
        item = self._number("I")
        if item in SCALARS:
            code = SCALARS[item]
            count = self._count(self._number("Q"), struct.calcsize(f"<{code}"))
            return list(struct.unpack(f"<{count}{code}", self._take(struct.calcsize(f"<{count}{code}"))))
        count = self._count(self._number("Q"), 8 if item == STRING else 12)
        if item == STRING:
            return self._strings(count)
        return [self._value(item, depth + 1) for _ in range(count)]

    def _strings(self, count: int) -> list[str]:
        """Many strings without a call for each: a vocabulary has 50,000."""
        data, at, size, found = self._map, self._at, self._size, []
        read = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > size or (length := read(data, at)[0]) > size - at - 8:
                raise self._fault(f"at byte {at} a string runs past its end")
            found.append(data[at + 8 : at + 8 + length].decode("utf-8", "replace"))
            at += 8 + length
        self._at = at
        return found

    def _tensor_head(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self._string(), self._number("I")
        if not 0 <= dimensions <= 8:
            raise self._fault(f"the tensor '{name}' claims {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        return name, shape, self._number("I"), self._number("Q")

    def _info(self, name: str, shape: tuple[int, ...], number: int, offset: int) -> TensorInfo:
        kind = KINDS.get(number)
        if kind is None:
            known = ", ".join(kind.name for kind in KINDS.values())
            raise self._fault(f"the tensor '{name}' has type {number}, which is not supported (supported: {known})")
        total = prod(shape)
        if total % kind.count or (shape and shape[-1] % kind.count):
            raise self._fault(f"the tensor '{name}' of shape {shape} does not divide into blocks of {kind.count}")
        size = total // kind.count * kind.size
        if offset + size > self._size:
            raise self._fault(f"the tensor '{name}' ends at byte {offset + size}, the file at {self._size}")
        return TensorInfo(shape, kind, offset, size)

    def _check_overlaps(self) -> None:
        last = 0
        for name, info in sorted(self.tensors.items(), key=lambda item: item[1].offset):
            if info.offset < last:
                raise self._fault(f"the tensor '{name}' overlaps another")
            last = info.offset + info.size
