"""safetensors: eight bytes of header length, a JSON header, then the tensors' bytes. https://github.com/huggingface/safetensors

Every length is checked against the file before anything is read; tensors are views of a private memory map.
"""

import json
import mmap
import re
from math import prod
from pathlib import Path
from typing import Any

import torch

from core.errors import CheckpointError, printable

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
LONGEST_HEADER = 100_000_000


class SafetensorsFile:
    """One .safetensors file. Raises CheckpointError naming the file and the fault."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                length = int.from_bytes(file.read(8), "little")
                if size < 8 or length > min(size - 8, LONGEST_HEADER):
                    raise self._fault(f"its header claims {length} bytes, the file has {size}")
                header = self._parse(file.read(length))
                self._start, self._size = 8 + length, size
                self.metadata: dict[str, str] = header.pop("__metadata__", None) or {}
                self._tensors = {name: self._check(name, entry) for name, entry in header.items()}
                self._check_overlaps()
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror or error}.") from error

    def _fault(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is not a whole safetensors file: {printable(what)}.")

    def _parse(self, raw: bytes) -> dict[str, Any]:
        try:
            header = json.loads(raw.decode("utf-8"), object_pairs_hook=self._unique)
        except (ValueError, RecursionError):
            raise self._fault("its header is not JSON") from None
        if not isinstance(header, dict):
            raise self._fault("its header is not a JSON object")
        return header

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise self._fault("its header names a tensor twice")
        return dict(pairs)

    def _check(self, name: str, entry: Any) -> tuple[torch.dtype, tuple[int, ...], int, int]:
        try:
            dtype, shape, (begin, end) = DTYPES.get(entry["dtype"]), entry["shape"], entry["data_offsets"]
            numbers = [*shape, begin, end]
        except (TypeError, KeyError, ValueError):
            raise self._fault(f"the entry of '{name}' is malformed") from None
        if dtype is None:
            raise self._fault(f"'{name}' has the type {entry['dtype']!r}, which is not supported")
        if any(type(number) is not int or number < 0 or number > 2**62 for number in numbers) or len(shape) > 64:
            raise self._fault(f"the shape or place of '{name}' is no list of whole numbers")
        if end < begin or self._start + end > self._size:
            raise self._fault(f"'{name}' ends at byte {self._start + end}, the file at {self._size}")
        if prod(shape) * dtype.itemsize != end - begin:
            raise self._fault(f"'{name}' of shape {tuple(shape)} does not fill its {end - begin} bytes")
        return dtype, tuple(shape), begin, end

    def _check_overlaps(self) -> None:
        last = 0
        for name, (_, _, begin, end) in sorted(self._tensors.items(), key=lambda item: item[1][2:]):
            if begin < last:
                raise self._fault(f"'{name}' overlaps another tensor")
            last = end

    def names(self) -> list[str]:
        """Tensors in the file."""
        return list(self._tensors)

    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor: a view of the map (writes stay private), or converted where dtype differs."""
        own, shape, begin, end = self._tensors[name]
        if begin == end:
            return torch.empty(shape, dtype=dtype or own)
        if (self._start + begin) % own.itemsize:
            raw = bytearray(self._map[self._start + begin : self._start + end])
            tensor = torch.frombuffer(raw, dtype=own)
        else:
            count = (end - begin) // own.itemsize
            tensor = torch.frombuffer(self._map, dtype=own, count=count, offset=self._start + begin)
        tensor = tensor.view(shape)
        return tensor.to(dtype) if dtype and own.is_floating_point else tensor

    def close(self) -> None:
        """The map lives as long as a tensor of it."""


def save(
    tensors: dict[str, torch.Tensor],
    folder: Path | str,
    max_shard_size: int | str = "5GB",
    metadata: dict[str, str] | None = None,
    stem: str = "model",
) -> list[Path]:
    """Write the tensors into the folder, beside and renamed; in several files with an index where they exceed the size."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, torch.Tensor]] = [{}]
    limit, used = parse_size(max_shard_size), 0
    for name, tensor in tensors.items():
        if used and used + tensor.nbytes > limit:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    total = len(shards)
    names = [f"{stem}-{i:05}-of-{total:05}.safetensors" for i in range(1, total + 1)] if total > 1 else [f"{stem}.safetensors"]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / f"{name}.part", metadata=metadata)
    for name in names:
        (folder / f"{name}.part").replace(folder / name)
    index = folder / f"{stem}.safetensors.index.json"
    if total > 1:
        where = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        size = sum(tensor.nbytes for tensor in tensors.values())
        part = index.with_suffix(".part")
        part.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=2) + "\n", encoding="utf-8")
        part.replace(index)
    for stale in folder.glob(f"{stem}*.safetensors*"):
        if stale.name not in names and (stale != index or total == 1):
            stale.unlink()
    return [folder / name for name in names]


def parse_size(size: int | str) -> int:
    """5_000_000_000 or "5GB" -> bytes."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", size.strip(), re.IGNORECASE)
    if not match:
        raise CheckpointError(f"'{size}' is not a size such as '5GB' or '500MB'.")
    power = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)
