"""What a processor returns: named arrays or tensors."""

from typing import Any, Self

import numpy as np
import torch

from core.errors import MediaError
from core.modeling.devices import usable_device
from core.tokenization.batch import BatchEncoding


class BatchFeature(BatchEncoding):
    """A dictionary whose keys are attributes too, of rows of numbers rather than of tokens."""

    def convert_to_tensors(self, tensor_type: str | None = None) -> Self:
        """Lists of arrays -> "pt" tensors or "np" arrays of (batch, …). Raises MediaError where rows differ in shape."""
        if tensor_type is None:
            return self
        if tensor_type not in ("pt", "np"):
            raise MediaError(f"return_tensors must be 'pt' or 'np', not {tensor_type!r}.")
        for key, value in self.data.items():
            if isinstance(value, torch.Tensor):
                array = value.numpy(force=True)
            elif len({np.shape(row) for row in value}) > 1:
                raise MediaError(
                    f"The rows of {key} differ in shape and make no tensor: pad clips, or resize images to one size."
                )
            else:
                array = np.asarray(value)
            self.data[key] = torch.from_numpy(np.ascontiguousarray(array)) if tensor_type == "pt" else array
        return self

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        """Move the tensors, and cast those of floating point; either argument alone is enough, as in `.to(torch.float16)`."""
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        place = None if device is None else usable_device(device)
        for key, value in self.data.items():
            if isinstance(value, torch.Tensor):
                self.data[key] = value.to(device=place, dtype=dtype if value.is_floating_point() else None)
        return self
