"""Layers with adapters beside them, by name; which are in use is said for all rows of a batch, or row by row."""

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import nn

from core.errors import AdapterError
from core.peft.config import PeftConfig

BASE = "__base__"


class Route:
    """Which adapter each row of a batch uses, where rows differ; one object for all layers of a model."""

    def __init__(self) -> None:
        self.names: list[str] | None = None
        self._groups: dict[int, list[tuple[str, torch.Tensor]]] = {}

    def set(self, names: list[str] | None) -> None:
        """A name a row, `__base__` for none."""
        self.names, self._groups = names, {}

    def groups(self, rows: int) -> list[tuple[str, torch.Tensor]]:
        """Adapters and their rows (indices); a batch of several beams a row counts each of them."""
        if rows not in self._groups:
            names = self.names or []
            if rows % len(names):
                raise AdapterError(f"adapter_names has {len(names)} names, the batch {rows} rows: give one name a row.")
            each = [name for name in names for _ in range(rows // len(names))]
            self._groups[rows] = [
                (name, torch.tensor([row for row, own in enumerate(each) if own == name]))
                for name in dict.fromkeys(each)
                if name != BASE
            ]
        return self._groups[rows]


class Adapted(nn.Module):
    """What stands in a layer's place. `stores` are its dicts of modules or parameters by adapter; `active` the adapters in use."""

    stores: ClassVar[tuple[str, ...]] = ()

    def __init__(self, route: Route) -> None:
        super().__init__()
        self.active: list[str] = []
        self.route = route

    def has(self, name: str) -> bool:
        """Whether this adapter stands beside this layer."""
        return any(name in getattr(self, store) for store in self.stores)

    def delete(self, name: str) -> None:
        """Forget an adapter."""
        for store in self.stores:
            if name in (entries := getattr(self, store)):
                del entries[name]
        self.active = [own for own in self.active if own != name]

    def tensors(self, name: str) -> Iterator[tuple[str, torch.Tensor]]:
        """An adapter's tensors under the names they have in its file, relative to this layer."""
        for store in self.stores:
            entries = getattr(self, store)
            if name not in entries:
                continue
            if isinstance(entries[name], nn.Parameter):
                yield store, entries[name]
            else:
                yield from (
                    (self.saved_name(store, leaf), tensor) for leaf, tensor in entries[name].state_dict(keep_vars=True).items()
                )

    def saved_name(self, store: str, leaf: str) -> str:
        """What a tensor of a store is called in a file."""
        return f"{store}.{leaf}"

    def unwrapped(self) -> nn.Module:
        """What takes this module's place when adapters are taken off."""
        raise NotImplementedError


class AdapterLayer(Adapted):
    """A layer with adapters that change what goes in (`before`) or what comes out (`after`)."""

    mergeable: ClassVar[bool] = True

    def __init__(self, base: nn.Module, route: Route) -> None:
        super().__init__(route)
        self.base_layer = base
        self.merged: list[str] = []

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)

    def add(self, name: str, config: Any, where: str) -> None:
        """A new adapter of this name; `where` is the layer's own name in the model."""
        raise NotImplementedError

    def before(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """What the layer reads under an adapter."""
        return x

    def after(self, name: str, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """What comes out under an adapter, from what came in and the output so far."""
        return out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the layer; with no adapter in use, or with merged ones, it is the layer."""
        if self.route.names is not None:
            return self._by_row(x)
        if not self.active or self.merged:
            return self.base_layer(x)
        for name in self.active:
            x = self.before(name, x)
        out = self.base_layer(x)
        for name in self.active:
            out = self.after(name, x, out)
        return out

    def _by_row(self, x: torch.Tensor) -> torch.Tensor:
        groups = [(name, rows.to(x.device)) for name, rows in self.route.groups(x.shape[0]) if self.has(name)]
        if type(self).before is not AdapterLayer.before:
            for name, rows in groups:
                x = x.index_copy(0, rows, self.before(name, x[rows]))
        out = self.base_layer(x)
        for name, rows in groups:
            out = out.index_copy(0, rows, self.after(name, x[rows], out[rows]))
        return out

    def merge(self, name: str) -> None:
        """Put an adapter into the layer's weight."""
        raise NotImplementedError

    def unmerge(self, name: str) -> None:
        """Take it out again."""
        raise NotImplementedError

    def unwrapped(self) -> nn.Module:
        """The layer."""
        return self.base_layer


class SavedModule(Adapted):
    """A layer trained whole beside its frozen original (`modules_to_save`)."""

    stores = ("modules_to_save",)

    def __init__(self, original: nn.Module, route: Route) -> None:
        super().__init__(route)
        self.original_module = original
        self.modules_to_save = nn.ModuleDict()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("original_module"), name)

    def add(self, name: str, config: PeftConfig, where: str) -> None:
        """A copy under this name."""
        self.modules_to_save[name] = copy.deepcopy(self.original_module).requires_grad_(True)

    def saved_name(self, store: str, leaf: str) -> str:
        """A file knows the copy by the layer's own name."""
        return leaf

    def current(self) -> nn.Module:
        """The copy in use, or the original."""
        chosen = next((name for name in self.active if name in self.modules_to_save), None)
        return self.modules_to_save[chosen] if chosen is not None else self.original_module

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The copy's, or the original's where none is in use."""
        if self.route.names is None:
            return self.current()(x, *args, **kwargs)
        out = self.original_module(x, *args, **kwargs)
        for name, rows in self.route.groups(x.shape[0]):
            if name in self.modules_to_save:
                rows = rows.to(x.device)
                out = out.index_copy(0, rows, self.modules_to_save[name](x[rows], *args, **kwargs))
        return out

    def unwrapped(self) -> nn.Module:
        """The copy in use."""
        return self.current()
