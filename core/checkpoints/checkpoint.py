"""A file or folder of weights, read tensor by tensor: safetensors (single, sharded), PyTorch .bin, GGUF."""

import json
from pathlib import Path
from typing import Protocol, Self

import torch

from core.checkpoints.gguf import GGUFFile
from core.checkpoints.safetensors_io import SafetensorsFile
from core.errors import CheckpointError, one_line


class Reader(Protocol):
    """One file of tensors."""

    def names(self) -> list[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor: ...
    def close(self) -> None: ...


class TorchFile:
    """A .bin file of torch.save, read with weights_only, so that nothing in it is executed."""

    def __init__(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch's reader raises many kinds on broken files
            raise CheckpointError(f"{path} cannot be read as a PyTorch file of weights: {one_line(error)}.") from error
        if not isinstance(state, dict):
            raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dictionary of tensors.")
        self._tensors = {name: t for name, t in state.items() if isinstance(t, torch.Tensor)}

    def names(self) -> list[str]:
        """Tensors in the file."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor."""
        return tuple(self._tensors[name].shape)

    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor."""
        tensor = self._tensors[name]
        return tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor

    def close(self) -> None:
        """Forget the tensors."""
        self._tensors = {}


class Checkpoint:
    """All tensors of a model, wherever they stand."""

    def __init__(self, format: str, files: dict[Path, Reader]) -> None:
        self.format = format
        self._files = list(files.values())
        self._where = {name: file for file in self._files for name in file.names()}

    def names(self) -> list[str]:
        """Tensors of the checkpoint, by their names in the files."""
        return list(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor, in torch's order."""
        return self._where[name].shape(name)

    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor; quantised blocks become float32 unless dtype says otherwise."""
        return self._where[name].load(name, dtype)

    def close(self) -> None:
        """Let go of the files; tensors that were loaded stay valid."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_checkpoint(path: Path | str) -> Checkpoint:
    """The checkpoint in a folder, or of one .gguf, .safetensors or .bin file.

    Raises CheckpointError naming the file and what is wrong with it.
    """
    path = Path(path)
    if path.is_file():
        return _open_files([path])
    for single in ("model.safetensors", "pytorch_model.bin"):
        index = path / f"{single}.index.json"
        if (path / single).is_file():
            return _open_files([path / single])
        if index.is_file():
            return _open_files(_shards(index))
    raise CheckpointError(f"{path} has no weights: no model.safetensors, no pytorch_model.bin and no index of shards.")


def _open_files(paths: list[Path]) -> Checkpoint:
    kinds = {".gguf": ("gguf", GGUFFile), ".safetensors": ("safetensors", SafetensorsFile), ".bin": ("bin", TorchFile)}
    if paths[0].suffix not in kinds:
        raise CheckpointError(f"{paths[0]} is neither .safetensors, .bin nor .gguf.")
    format, reader = kinds[paths[0].suffix]
    return Checkpoint(format, {path: reader(path) for path in paths})


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise CheckpointError(f"{index} is no index of shards: {one_line(error)}.") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{index} names a shard outside its folder: {name!r}.")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index} names the shard {name}, which is not there.")
    return [index.parent / name for name in names]
