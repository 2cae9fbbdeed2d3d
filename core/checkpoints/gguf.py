"""GGUF, versions 2 and 3, little-endian: metadata, then tensors in blocks. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Every count and length is checked against the file before anything is read or allocated.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from core.checkpoints.blocks import SIZES, Blocks
from core.checkpoints.gguf_quants import KINDS, Kind, unpack
from core.errors import CheckpointError, printable

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


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
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
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

    def load(self, name: str, dtype: torch.dtype | None = None, index: int | None = None) -> torch.Tensor:
        """One tensor, or one entry of its first axis: a view of the map (writes stay private), or blocks unpacked to float32;
        then in `dtype`."""
        info = self.tensors[name]
        shape, size, offset = self._entry(info, index)
        if not size:
            return torch.empty(shape, dtype=dtype or info.kind.dtype or torch.float32)
        if info.kind.dtype is None:
            return unpack(np.frombuffer(self._map, np.uint8, size, offset), info.kind, dtype or torch.float32).view(shape)
        if offset % info.kind.size:
            tensor = torch.frombuffer(bytearray(self._map[offset : offset + size]), dtype=info.kind.dtype)
        else:
            tensor = torch.frombuffer(self._map, dtype=info.kind.dtype, count=size // info.kind.size, offset=offset)
        return tensor.view(shape).to(dtype or info.kind.dtype)

    def blocks(self, name: str, index: int | None = None) -> Blocks | None:
        """A matrix as it stands in the file, a view of the map; None where it is no matrix in a form of Blocks."""
        info = self.tensors[name]
        form = info.kind.name.lower()
        shape, size, offset = self._entry(info, index)
        if form not in SIZES or len(shape) != 2:
            return None
        data = torch.frombuffer(self._map, dtype=torch.uint8, count=size, offset=offset)
        return Blocks(form, data.view(shape[0], -1, SIZES[form]))

    def _entry(self, info: TensorInfo, index: int | None) -> tuple[tuple[int, ...], int, int]:
        """Shape, bytes and place of a tensor, or of one entry of its first axis."""
        if index is None:
            return info.shape, info.size, info.offset
        size = info.size // info.shape[0]
        return info.shape[1:], size, info.offset + index * size

    def close(self) -> None:
        """The map lives as long as a tensor of it."""

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
        if not total:
            raise self._fault(f"the tensor '{name}' of shape {shape} holds no numbers")
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
