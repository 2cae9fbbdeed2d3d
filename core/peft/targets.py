"""Which layers of a model an adapter stands beside: by names, by a regular expression, all linear ones, or by architecture."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from core.errors import AdapterError
from core.modeling.layers import Conv1D
from core.modeling.model import PreTrainedModel
from core.modeling.quantized import QuantizedLinear
from core.peft.config import PeftConfig, knob

LINEAR = (nn.Linear, Conv1D, QuantizedLinear)
CLASSIFIERS = ("score", "classifier")


def by_architecture(*rows: tuple[str, str]) -> dict[str, list[str]]:
    """(model types, layers), both with spaces between -> layers by model type."""
    return {kind: layers.split() for kinds, layers in rows for kind in kinds.split()}


@dataclass
class TargetConfig(PeftConfig):
    """A method that stands beside layers. `default_targets` are those by architecture where nobody says."""

    target_modules: list[str] | str | None = knob(None, "Which layers: names, a regular expression, or all-linear.")
    exclude_modules: list[str] | str | None = knob(None, "Which of them not: names or a regular expression.")
    fan_in_fan_out: bool = knob(False, "The weights are stored (in, out); found by itself.")

    default_targets: ClassVar[dict[str, Any]] = {}
    adaptable: ClassVar[tuple[type[nn.Module], ...]] = LINEAR

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("target_modules", "exclude_modules"):
            if isinstance(value := getattr(self, name), set | tuple):
                setattr(self, name, sorted(value))

    def make_layer(self, base: nn.Module, route: Any) -> Any:
        """The module that takes the place of a layer."""
        raise NotImplementedError

    def fits(self, name: str) -> bool:
        """Whether a layer of this name is asked for; a method may ask more."""
        return matches(name, self.target_modules or [])

    def choose(self, model: PreTrainedModel) -> dict[str, nn.Module]:
        """The layers to adapt, by name; target_modules are then those that were found. Raises AdapterError where there are none."""
        layers = {name: bare(layer) for name, layer in model.named_modules() if not inside_adapter(name)}
        layers = {name: layer for name, layer in layers.items() if isinstance(layer, self.adaptable)}
        if self.target_modules is None:
            self.target_modules = self.default_targets.get(model.config.model_type)
        if self.target_modules is None:
            raise AdapterError(f"Say which layers to adapt (target_modules): {model.config.model_type} has no default.")
        if isinstance(self.target_modules, str) and self.target_modules.lower() == "all-linear":
            self.target_modules = shortest(self._all_linear(model, layers), layers)
        saved, without = self.modules_to_save or [], self.exclude_modules or []
        found = {
            name: layer
            for name, layer in layers.items()
            if self.fits(name) and not matches(name, without) and not any(matches(part, saved) for part in parents(name))
        }
        if not found:
            kinds = ", ".join(kind.__name__ for kind in self.adaptable)
            raise AdapterError(f"No {kinds} of {type(model).__name__} fits target_modules {self.target_modules!r}.")
        return found

    def _all_linear(self, model: PreTrainedModel, layers: dict[str, nn.Module]) -> list[str]:
        output = model.get_output_embeddings()
        heads = CLASSIFIERS if output is None and self.task_type == "SEQ_CLS" else ()
        return [
            name
            for name, layer in layers.items()
            if isinstance(layer, LINEAR) and layer is not bare(output) and name not in heads
        ]


def matches(name: str, wanted: list[str] | str) -> bool:
    """A regular expression for the whole name; or names, whole or their ends."""
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None
    return any(name == end or name.endswith(f".{end}") for end in wanted)


def parents(name: str) -> list[str]:
    """A module's name and those of what it is in."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def bare(layer: Any) -> Any:
    """A layer without its adapters."""
    return getattr(layer, "base_layer", layer)


def inside_adapter(name: str) -> bool:
    """Whether a module belongs to an adapter or is what one wraps."""
    parts = name.split(".")
    return any(
        part == "base_layer" or part.startswith(("lora_", "adapter_", "modules_to_save", "original_module")) for part in parts
    )


def shortest(chosen: list[str], layers: dict[str, nn.Module]) -> list[str]:
    """The last parts of the names where these say the same, else the names."""
    ends = sorted({name.rpartition(".")[2] for name in chosen})
    return ends if {name for name in layers if matches(name, ends)} == set(chosen) else sorted(chosen)
