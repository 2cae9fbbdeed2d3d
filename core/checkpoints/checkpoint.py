"""A file or folder of weights, read tensor by tensor under the reference's names: safetensors and PyTorch's .bin (single or in
shards), GGUF, CTranslate2."""

import json
from pathlib import Path
from typing import Protocol, Self

import torch

from core.checkpoints.blocks import Blocks
from core.checkpoints.ctranslate2 import CTranslate2File
from core.checkpoints.gguf import GGUFFile
from core.checkpoints.gguf_architectures import GGUFCheckpoint
from core.checkpoints.safetensors_io import SafetensorsFile
from core.checkpoints.torch_file import TorchFile
from core.errors import CheckpointError, one_line

SAFE, TORCH, CTRANSLATE2 = "model.safetensors", "pytorch_model.bin", "model.bin"


class Reader(Protocol):
    """One file of tensors."""

    def names(self) -> list[str]: ...
    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor: ...
    def close(self) -> None: ...


class Checkpoint:
    """All tensors of a model, wherever they stand."""

    def __init__(self, files: list[Reader]) -> None:
        self._files = files
        self._where = {name: file for file in files for name in file.names()}

    def names(self) -> list[str]:
        """Tensors of the checkpoint."""
        return list(self._where)

    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor; quantised blocks become float32 unless dtype says otherwise."""
        return self._where[name].load(name, dtype)

    def load_blocks(self, name: str) -> Blocks | None:
        """One matrix in the blocks that the file has it in; None where it holds plain numbers."""
        file = self._where[name]
        return file.load_blocks(name) if isinstance(file, GGUFCheckpoint) else None

    def close(self) -> None:
        """Let go of the files; tensors that were loaded stay valid."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_checkpoint(path: Path | str, variant: str | None = None, use_safetensors: bool | None = None) -> Checkpoint:
    """The checkpoint in a folder, or of one .gguf, .safetensors or .bin file.

    variant "fp16" reads model.fp16.safetensors and its kin; use_safetensors False passes over safetensors. Raises CheckpointError
    naming the file and what is wrong with it.
    """
    path = Path(path)
    if path.is_file():
        return Checkpoint([_open(path)])
    wanted = [name for name in (SAFE, TORCH) if use_safetensors is None or (name == SAFE) == use_safetensors]
    for name in wanted:
        single, index = path / _with_variant(name, variant), path / _with_variant(f"{name}.index.json", variant)
        if single.is_file():
            return Checkpoint([_open(single)])
        if index.is_file():
            return Checkpoint([_open(shard) for shard in _shards(index)])
    if (path / CTRANSLATE2).is_file() and not variant and use_safetensors is not True:
        return Checkpoint([_open(path / CTRANSLATE2)])
    names = " and ".join(f"no {_with_variant(name, variant)}" for name in wanted)
    raise CheckpointError(f"{path} has no weights: {names}, whole or in shards.")


def is_ctranslate2(file: Path) -> bool:
    """Whether a .bin begins as CTranslate2's do (its version), not as torch's (a zip or a pickle)."""
    with open(file, "rb") as stream:
        head = stream.read(4)
    return len(head) == 4 and head[1:] == b"\0\0\0"


def _open(path: Path) -> Reader:
    try:
        if path.suffix == ".gguf":
            return GGUFCheckpoint(GGUFFile(path))
        if path.suffix == ".safetensors":
            return SafetensorsFile(path)
        if path.suffix in (".bin", ".pt", ".pth"):
            return CTranslate2File(path) if is_ctranslate2(path) else TorchFile(path)
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read: {one_line(error)}.") from error
    raise CheckpointError(f"{path} is neither .safetensors, .bin nor .gguf.")


def _with_variant(name: str, variant: str | None) -> str:
    """model.safetensors -> model.fp16.safetensors; model.safetensors.index.json -> model.safetensors.index.fp16.json."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{variant}.{suffix}" if variant else name


def _shards(index: Path) -> list[Path]:
    try:
        names = list(dict.fromkeys(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise CheckpointError(f"{index} is no index of shards: {one_line(error)}.") from error
    if not names:
        raise CheckpointError(f"{index} names no shard.")
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise CheckpointError(f"{index} names a shard outside its folder: {name!r}.")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index} names the shard {name}, which is not there.")
    return [index.parent / name for name in names]
