"""Bottleneck adapters: y + s up(act(down(y))) after a layer that writes to the residual stream. Houlsby et al. 2019, 2.1.

Where: "houlsby" after attention and after the feed-forward layer; "pfeiffer" (Pfeiffer et al. 2021) after the latter alone.

Files: adapter_config.json with the fields of BottleneckConfig and peft_type "BOTTLENECK"; adapter_model.safetensors with four tensors
an adapted layer (d its output's width, m the bottleneck): base_model.model.LAYER.adapter_down.weight (m, d) and .bias (m,),
base_model.model.LAYER.adapter_up.weight (d, m) and .bias (d,); and modules_to_save under base_model.model.NAME.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from core.errors import AdapterError
from core.modeling.layers import Conv1D, activation
from core.peft.config import knob
from core.peft.layers import AdapterLayer, Route
from core.peft.targets import TargetConfig


class BottleneckLayer(AdapterLayer):
    """adapter_down[name] (out -> bottleneck), adapter_up[name] (bottleneck -> out)."""

    stores = ("adapter_down", "adapter_up")
    mergeable = False

    def __init__(self, base: nn.Module, route: Route) -> None:
        super().__init__(base, route)
        self.adapter_down, self.adapter_up = nn.ModuleDict(), nn.ModuleDict()
        self.configs: dict[str, BottleneckConfig] = {}

    def add(self, name: str, config: "BottleneckConfig", where: str) -> None:
        """A new adapter, near the identity: both matrices normal of standard deviation 0.01, cut at two of them; biases zero."""
        base: Any = self.base_layer
        width = base.nf if isinstance(base, Conv1D) else base.out_features
        inner = config.bottleneck_size or max(1, width // config.reduction_factor)
        device = next(iter((*base.parameters(), *base.buffers()))).device
        for store, sizes in ((self.adapter_down, (width, inner)), (self.adapter_up, (inner, width))):
            store[name] = nn.Linear(*sizes, device=device)
            nn.init.trunc_normal_(store[name].weight, std=0.01, a=-0.02, b=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(store[name].bias)  # type: ignore[arg-type]
        self.configs[name] = config

    def after(self, name: str, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """out (…, out) -> the same."""
        config, down, up = self.configs[name], self.adapter_down[name], self.adapter_up[name]
        inner = activation(config.non_linearity)(down(out.to(down.weight.dtype)))  # type: ignore[arg-type]
        return out + (config.scaling * up(inner)).to(out.dtype)


@dataclass
class BottleneckConfig(TargetConfig, method="BOTTLENECK"):
    """Small two-layer networks between the layers of a frozen model."""

    placement: str = knob("houlsby", "After attention and feed-forward layers (houlsby) or the latter alone (pfeiffer).")
    reduction_factor: int = knob(16, "The layer's width divided by this is the bottleneck's.", 1, 256)
    bottleneck_size: int | None = knob(None, "The bottleneck's width, where it is not that.")
    non_linearity: str = knob("relu", "The activation, by the names of a config.json.")
    scaling: float = knob(1.0, "The adapter's output is multiplied by this.")

    # attention's output layer and the feed-forward layer's, as regular expressions
    places: ClassVar[dict[str, tuple[str, str]]] = {
        kind: row
        for kinds, row in (
            ("llama mistral qwen2 qwen3 gemma gemma2 gemma3_text granite phi3", (r".*self_attn\.o_proj", r".*mlp\.down_proj")),
            ("gpt2 gpt_bigcode", (r".*attn\.c_proj", r".*mlp\.c_proj")),
            ("gpt_neox", (r".*attention\.dense", r".*mlp\.dense_4h_to_h")),
            ("bloom", (r".*self_attention\.dense", r".*mlp\.dense_4h_to_h")),
            ("opt bart mbart marian whisper", (r".*(self|encoder)_attn\.out_proj", r".*\.fc2")),
            ("starcoder2", (r".*self_attn\.o_proj", r".*mlp\.c_proj")),
            ("bert roberta xlm-roberta camembert electra deberta-v2", (r".*attention\.output\.dense", r".*\.\d+\.output\.dense")),
            ("distilbert", (r".*attention\.out_lin", r".*ffn\.lin2")),
            ("t5 mt5", (r".*Attention\.o", r".*DenseReluDense\.wo")),
        )
        for kind in kinds.split()
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.placement not in ("houlsby", "pfeiffer"):
            raise AdapterError(f"placement must be houlsby or pfeiffer, not {self.placement!r}.")
        if self.reduction_factor < 1 or (self.bottleneck_size is not None and self.bottleneck_size < 1):
            raise AdapterError("reduction_factor and bottleneck_size must be at least 1.")
        activation(self.non_linearity)

    def choose(self, model: Any) -> dict[str, nn.Module]:
        """The layers of the placement, where target_modules are not given."""
        if self.target_modules is None and model.config.model_type in self.places:
            attention, feedforward = self.places[model.config.model_type]
            self.target_modules = f"({attention}|{feedforward})" if self.placement == "houlsby" else feedforward
        return super().choose(model)

    def make_layer(self, base: nn.Module, route: Route) -> BottleneckLayer:
        """The module that takes the place of a layer."""
        self.fan_in_fan_out = isinstance(base, Conv1D)
        return BottleneckLayer(base, route)
