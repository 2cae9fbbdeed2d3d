"""One adapted layer."""

import math
from typing import Any

import torch
from torch import nn

from core.modeling.layers import Conv1D
from core.peft.config import LoraConfig


class LoraLayer(nn.Module):
    """A Linear or Conv1D with low-rank adapters beside it, by name; `active` are those in use.

    base_layer is frozen; lora_A[name] (in -> r), lora_B[name] (r -> out), in float32 where the base is in half precision.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A, self.lora_B, self.lora_dropout = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.scaling: dict[str, float] = {}
        self.active: list[str] = []
        self.merged: list[str] = []

    @property
    def weight(self) -> torch.Tensor:
        """The base layer's weight."""
        return self.base_layer.weight  # type: ignore[return-value]

    @property
    def bias(self) -> torch.Tensor | None:
        """The base layer's bias."""
        return self.base_layer.bias  # type: ignore[return-value]

    @property
    def _transposed(self) -> bool:
        return isinstance(self.base_layer, Conv1D)

    def add(self, name: str, config: LoraConfig) -> None:
        """A new adapter that changes nothing yet: B is zero."""
        rows, columns = self.weight.shape if not self._transposed else self.weight.shape[::-1]
        half = self.weight.dtype in (torch.float16, torch.bfloat16)
        place: dict[str, Any] = {"device": self.weight.device, "dtype": torch.float32 if half else self.weight.dtype}
        a, b = nn.Linear(columns, config.r, bias=False, **place), nn.Linear(config.r, rows, bias=False, **place)
        if config.init_lora_weights == "gaussian":
            nn.init.normal_(a.weight, std=1 / config.r)
        else:
            nn.init.kaiming_uniform_(a.weight, a=math.sqrt(5))
        nn.init.zeros_(b.weight)
        self.lora_A[name], self.lora_B[name] = a, b
        self.lora_dropout[name] = nn.Dropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        self.scaling[name] = config.scaling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) -> (…, out)."""
        out = self.base_layer(x)
        for name in self.active:
            if name in self.lora_A and name not in self.merged:
                a, b = self.lora_A[name], self.lora_B[name]
                low = a(self.lora_dropout[name](x.to(a.weight.dtype)))  # type: ignore[operator]
                out = out + (b(low) * self.scaling[name]).to(out.dtype)
        return out

    def delta(self, name: str) -> torch.Tensor:
        """What the adapter adds to the base weight, in its shape."""
        change = self.lora_B[name].weight @ self.lora_A[name].weight * self.scaling[name]  # type: ignore[operator]
        return (change.T if self._transposed else change).to(self.weight.dtype)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the active adapters into the base weight."""
        for name in self.active:
            if name in self.lora_A and name not in self.merged:
                self.weight.add_(self.delta(name))
                self.merged.append(name)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take them out again."""
        while self.merged:
            self.weight.sub_(self.delta(self.merged.pop()))


class SavedModule(nn.Module):
    """A layer trained whole beside its frozen original (`modules_to_save`)."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.original_module = original
        self.modules_to_save = nn.ModuleDict()
        self.active: list[str] = []

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The trained copy's, or the original's where none is active."""
        chosen = next((name for name in self.active if name in self.modules_to_save), None)
        return (self.modules_to_save[chosen] if chosen else self.original_module)(*args, **kwargs)


ADAPTABLE = (nn.Linear, Conv1D)
