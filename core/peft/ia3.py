"""IA3: learned factors on what some layers read or give. Liu et al. 2022, 3.3."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from core.errors import AdapterError
from core.modeling.layers import Conv1D
from core.modeling.quantized import Quantized
from core.peft.config import knob
from core.peft.layers import AdapterLayer, Route
from core.peft.targets import TargetConfig, by_architecture, matches


class IA3Layer(AdapterLayer):
    """ia3_l[name]: (out, 1) factors of the outputs, or (1, in) of a feed-forward layer's inputs."""

    stores = ("ia3_l",)

    def __init__(self, base: nn.Module, route: Route) -> None:
        super().__init__(base, route)
        self.ia3_l = nn.ParameterDict()

    def add(self, name: str, config: "IA3Config", where: str) -> None:
        """Factors of one."""
        base: Any = self.base_layer
        inner, outer = (base.nx, base.nf) if isinstance(base, Conv1D) else (base.in_features, base.out_features)
        shape = (1, inner) if matches(where, config.feedforward_modules or []) else (outer, 1)
        make = torch.ones if config.init_ia3_weights else torch.randn
        self.ia3_l[name] = nn.Parameter(make(shape, device=next(iter((*base.parameters(), *base.buffers()))).device))

    def _reads(self, name: str) -> bool:
        return name in self.ia3_l and self.ia3_l[name].shape[0] == 1

    def before(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Of a feed-forward layer: x (…, in) times the factors."""
        return (x * self.ia3_l[name].flatten()).to(x.dtype) if self._reads(name) else x

    def after(self, name: str, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Of another: out (…, out) times the factors."""
        return out if self._reads(name) else (out * self.ia3_l[name].flatten()).to(out.dtype)

    @torch.no_grad()
    def merge(self, name: str) -> None:
        """Into weight and bias."""
        self._scale(name, self.ia3_l[name])

    @torch.no_grad()
    def unmerge(self, name: str) -> None:
        """Out of them, where no factor is zero."""
        if bool((self.ia3_l[name] == 0).any()):
            raise AdapterError(
                f"Adapter '{name}' has a factor of zero: what it was merged into cannot be had back; load the model again."
            )
        self._scale(name, 1 / self.ia3_l[name])

    def _scale(self, name: str, factors: torch.Tensor) -> None:
        base: Any = self.base_layer
        if isinstance(base, Quantized):
            raise AdapterError("IA3 cannot be merged into quantised weights: load the model in full.")
        base.weight.mul_(factors.T if isinstance(base, Conv1D) else factors)
        if base.bias is not None and not self._reads(name):
            base.bias.mul_(factors.flatten())


@dataclass
class IA3Config(TargetConfig, method="IA3"):
    """Factors on keys, values and the inner states of feed-forward layers."""

    feedforward_modules: list[str] | str | None = knob(None, "Which of the layers have factors on their inputs.")
    init_ia3_weights: bool = knob(True, "Start as the identity.")

    default_targets: ClassVar[dict[str, Any]] = by_architecture(
        ("t5", "k v wo"),
        ("mt5", "k v wi_1"),
        ("gpt2 gpt_bigcode", "c_attn mlp.c_proj"),
        ("bloom", "query_key_value mlp.dense_4h_to_h"),
        ("bert roberta", "key value output.dense"),
        ("deberta-v2", "key_proj value_proj output.dense"),
        ("opt", "q_proj k_proj fc2"),
        ("bart", "q_proj v_proj fc2"),
        ("gpt_neox", "query_key_value dense_4h_to_h"),
        ("llama mistral", "k_proj v_proj down_proj"),
        ("mixtral", "k_proj v_proj w2"),
        ("gemma gemma2 gemma3_text qwen2 qwen3", "q_proj v_proj down_proj"),
    )
    default_feedforward: ClassVar[tuple[str, ...]] = (
        *("wo", "mlp.c_proj", "mlp.dense_4h_to_h", "dense_4h_to_h", "output.dense", "fc2", "down_proj", "w2"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.feedforward_modules, set | tuple):
            self.feedforward_modules = sorted(self.feedforward_modules)
        if isinstance(self.feedforward_modules, list) and isinstance(self.target_modules, list):
            other = set(self.feedforward_modules) - set(self.target_modules)
            if other:
                raise AdapterError(f"feedforward_modules must be among target_modules; {sorted(other)} are not.")

    def choose(self, model: Any) -> dict[str, nn.Module]:
        """As of all methods; where nothing is said, the architecture's feed-forward layers."""
        found = super().choose(model)
        if self.feedforward_modules is None:
            names = self.target_modules if isinstance(self.target_modules, list) else []
            self.feedforward_modules = [name for name in names if name in self.default_feedforward]
        return found

    def make_layer(self, base: nn.Module, route: Route) -> IA3Layer:
        """The module that takes the place of a layer."""
        self.fan_in_fan_out = isinstance(base, Conv1D)
        return IA3Layer(base, route)
