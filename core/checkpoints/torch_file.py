"""PyTorch's own files of weights (.bin, .pt), zipped or of the older kind. Read with weights_only, so that nothing in them is executed."""

import zipfile
from pathlib import Path

import torch

from core.errors import CheckpointError, one_line


class TorchFile:
    """One file of torch.save. Raises CheckpointError naming the file and the fault."""

    def __init__(self, path: Path) -> None:
        try:
            zipped = zipfile.is_zipfile(path)
            if zipped:
                _check_members(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except CheckpointError:
            raise
        except Exception as error:  # torch's reader raises many kinds on broken files
            raise CheckpointError(f"{path} cannot be read as a PyTorch file of weights: {_why(error)}.") from error
        if not isinstance(state, dict):
            raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dictionary of tensors.")
        self._tensors = {name: t for name, t in state.items() if isinstance(name, str) and isinstance(t, torch.Tensor)}
        if odd := [name for name, t in self._tensors.items() if t.layout != torch.strided or t.is_quantized or t.is_meta]:
            raise CheckpointError(f"{path}: the tensor '{odd[0]}' is not a plain one, which is not supported.")

    def names(self) -> list[str]:
        """Tensors in the file."""
        return list(self._tensors)

    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor: a view of the map where the file is zipped."""
        tensor = self._tensors[name].detach()
        return tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor

    def close(self) -> None:
        """Forget the tensors."""
        self._tensors = {}


def _check_members(path: Path) -> None:
    """torch stores members as they are; a packed one could unpack to any size."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise CheckpointError(f"{path} is a packed archive, not a PyTorch file of weights.")


def _why(error: Exception) -> str:
    """Torch's reason; where it is a refused pickle, that this is so."""
    if "Unsupported global" in str(error) or "weights_only" in str(error).lower():
        return "it holds more than tensors, or is damaged; what is in it was not run"
    return one_line(error)
