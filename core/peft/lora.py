"""Low-rank adapters. Hu et al. 2021: W x + s B A x. DoRA: Liu et al. 2024; rank-stabilised scale: Kalajdzievski 2023.

QLoRA (Dettmers et al. 2023) is this beside a QuantizedLinear.
"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from core.errors import AdapterError
from core.modeling.layers import Conv1D
from core.modeling.quantized import Quantized
from core.peft.config import knob
from core.peft.layers import AdapterLayer, Route
from core.peft.lora_init import start
from core.peft.targets import LINEAR, TargetConfig, by_architecture, matches


class LoraLayer(AdapterLayer):
    """What adapters of linear layers and of tables share. A layer in half precision has adapters in float32."""

    stores = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")

    def __init__(self, base: nn.Module, route: Route) -> None:
        super().__init__(base, route)
        self.lora_A, self.lora_B = nn.ModuleDict(), nn.ModuleDict()
        self.lora_embedding_A, self.lora_embedding_B = nn.ParameterDict(), nn.ParameterDict()
        self.lora_magnitude_vector = nn.ModuleDict()
        self.scaling: dict[str, float] = {}
        self.dropout: dict[str, float] = {}
        self._full: nn.Module | None = None
        self._factors: dict[str, torch.Tensor] = {}

    def add(self, name: str, config: "LoraConfig", where: str) -> None:
        """A new adapter, by default one that changes nothing yet: B is zero."""
        rank = config.rank(where)
        self.scaling[name], self.dropout[name] = config.scale(where), config.lora_dropout
        floating = [t.dtype for t in (*self.base_layer.parameters(), *self.base_layer.buffers()) if t.is_floating_point()]
        half = not floating or floating[0] in (torch.float16, torch.bfloat16)
        device = next(iter((*self.base_layer.parameters(), *self.base_layer.buffers()))).device
        self.make(name, rank, {"device": device, "dtype": torch.float32 if half else floating[0]})
        with torch.no_grad():
            start(self, name, config.init_lora_weights)
            if config.use_dora:
                self.lora_magnitude_vector[name] = _Magnitude(self._norm(name))

    def make(self, name: str, rank: int, place: dict[str, Any]) -> None:
        """The two matrices, not yet filled."""
        raise NotImplementedError

    def low_rank(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A (rank, in) and B (out, rank)."""
        raise NotImplementedError

    def delete(self, name: str) -> None:
        """Forget an adapter."""
        super().delete(name)
        self.scaling.pop(name, None)
        self.dropout.pop(name, None)

    def saved_name(self, store: str, leaf: str) -> str:
        """A magnitude is a bare tensor in files."""
        return store if store == "lora_magnitude_vector" else super().saved_name(store, leaf)

    @property
    def transposed(self) -> bool:
        """Whether the layer's weight is (in, out)."""
        return isinstance(self.base_layer, Conv1D | nn.Embedding)

    def matrix(self) -> torch.Tensor:
        """The layer's weight as (out, in)."""
        return self.base_layer.weight.T if self.transposed else self.base_layer.weight  # type: ignore[union-attr,return-value]

    def change(self, name: str) -> torch.Tensor:
        """s B A (out, in)."""
        a, b = self.low_rank(name)
        return self.scaling[name] * (b @ a)

    def _norm(self, name: str) -> torch.Tensor:
        return torch.linalg.norm(self.matrix().to(self.low_rank(name)[0].dtype) + self.change(name), dim=1)

    def _magnitude(self, name: str) -> torch.Tensor | None:
        """Of DoRA: what each output is multiplied by; the norm is a constant for gradients (Liu et al. 2024, 4.3)."""
        if name not in self.lora_magnitude_vector:
            return None
        with torch.no_grad():
            norm = self._norm(name)
        return self.lora_magnitude_vector[name].weight / norm  # type: ignore[operator]

    @torch.no_grad()
    def merge(self, name: str) -> None:
        """Into the weight; a layer in blocks becomes a full one until it is taken out."""
        if isinstance(self.base_layer, Quantized):
            self._full, weight = self.base_layer, self.base_layer.dequantize()
            rows, columns = weight.shape
            self.base_layer = nn.utils.skip_init(nn.Linear, columns, rows, bias=self._full.bias is not None)  # type: ignore[union-attr]
            self.base_layer.weight, self.base_layer.bias = nn.Parameter(weight, False), self._full.bias  # type: ignore[union-attr,assignment]
        weight, change = self.matrix(), self.change(name)
        factor = self._magnitude(name)
        if factor is None:
            weight += change.to(weight.dtype)
        else:
            self._factors[name] = factor
            weight.copy_(factor[:, None] * (weight + change))

    @torch.no_grad()
    def unmerge(self, name: str) -> None:
        """Out of the weight, up to rounding."""
        if self._full is not None:
            self.base_layer, self._full = self._full, None
            return
        weight, factor = self.matrix(), self._factors.pop(name, None)
        if factor is not None:
            weight /= factor[:, None]
        weight -= self.change(name).to(weight.dtype)


class LoraLinear(LoraLayer):
    """A Linear, Conv1D or QuantizedLinear: lora_A[name] (in -> rank), lora_B[name] (rank -> out)."""

    def make(self, name: str, rank: int, place: dict[str, Any]) -> None:
        """Two Linear layers without bias."""
        base: Any = self.base_layer
        inner, outer = (base.nx, base.nf) if isinstance(base, Conv1D) else (base.in_features, base.out_features)
        self.lora_A[name] = nn.Linear(inner, rank, bias=False, **place)
        self.lora_B[name] = nn.Linear(rank, outer, bias=False, **place)

    def low_rank(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A (rank, in) and B (out, rank)."""
        return self.lora_A[name].weight, self.lora_B[name].weight  # type: ignore[return-value]

    def after(self, name: str, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """x (…, in), out (…, out) -> (…, out)."""
        a, b = self.low_rank(name)
        dropped = self.training and self.dropout[name] > 0
        x = F.dropout(x, self.dropout[name]) if dropped else x
        low = F.linear(x, a) if x.dtype == a.dtype else _Project.apply(x, a)
        factor = self._magnitude(name)
        if factor is not None:
            bias = self.base_layer.bias
            base = F.linear(x, self.matrix()) if dropped else out if bias is None else out - bias
            return out + ((factor - 1) * base + factor * F.linear(low * self.scaling[name], b)).to(out.dtype)
        if low.dtype == out.dtype:  # product, scale and sum in one pass
            flat = torch.addmm(out.flatten(0, -2), low.flatten(0, -2), b.T, alpha=self.scaling[name])
            return flat.view_as(out)
        return out + F.linear(low * self.scaling[name], b).to(out.dtype)


class LoraEmbedding(LoraLayer):
    """A table of vectors: lora_embedding_A[name] (rank, rows), lora_embedding_B[name] (width, rank)."""

    def make(self, name: str, rank: int, place: dict[str, Any]) -> None:
        """Two matrices."""
        base: Any = self.base_layer
        self.lora_embedding_A[name] = nn.Parameter(torch.empty(rank, base.num_embeddings, **place))
        self.lora_embedding_B[name] = nn.Parameter(torch.empty(base.embedding_dim, rank, **place))

    def low_rank(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A (rank, rows) and B (width, rank)."""
        return self.lora_embedding_A[name], self.lora_embedding_B[name]

    def after(self, name: str, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """x (…) ids, out (…, width) -> (…, width)."""
        a, b = self.low_rank(name)
        base: Any = self.base_layer
        rows = F.embedding(x, a.T, base.padding_idx) * self.scaling[name]
        change = F.linear(rows, b) * getattr(base, "scale", 1)
        factor = self._magnitude(name)
        return (out + change.to(out.dtype)) if factor is None else (factor * (out + change)).to(out.dtype)


class _Magnitude(nn.Module):
    """DoRA's m (out,)."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


class _Project(torch.autograd.Function):
    """x A^T in A's precision, keeping x as it came: a copy of each layer's input in float32 would double what training keeps."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, a)
        return F.linear(x.to(a.dtype), a)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        x, a = ctx.saved_tensors
        given = gradients[0].to(a.dtype)
        of_x = (given @ a).to(x.dtype) if ctx.needs_input_grad[0] else None
        of_a = given.flatten(0, -2).T @ x.flatten(0, -2).to(a.dtype) if ctx.needs_input_grad[1] else None
        return of_x, of_a


@dataclass
class LoraConfig(TargetConfig, method="LORA"):
    """Low-rank adapters. Hu et al. 2021: W x + alpha/r B A x."""

    r: int = knob(8, "Rank: how many directions each adapted layer may learn.", 1, 256)
    lora_alpha: float = knob(8, "The adapter's output is scaled by lora_alpha / r.", 1, 512)
    lora_dropout: float = knob(0.0, "Share of the adapter's inputs dropped while training.", 0, 0.9)
    bias: str = knob("none", "Which biases are trained too: none, all, or lora_only.")
    use_rslora: bool = knob(False, "Scale by lora_alpha / sqrt(r) instead. Kalajdzievski 2023.")
    use_dora: bool = knob(False, "Learn a magnitude of each output apart. Liu et al. 2024.")
    init_lora_weights: bool | str = knob(True, "How to start: as the identity, gaussian, pissa, olora; False is random.")
    layers_to_transform: list[int] | int | None = knob(None, "Only these layers, by number.")
    layers_pattern: list[str] | str | None = knob(None, "What the list of layers is called, where it is not found by itself.")
    rank_pattern: dict[str, int] = knob(dict, "Other ranks, by layer name or regular expression.")
    alpha_pattern: dict[str, float] = knob(dict, "Other values of lora_alpha, likewise.")

    refused: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(
            "alora_invocation_tokens arrow_config corda_config eva_config kasa_config layer_replication lora_ga_config megatron_config "
            "monteclora_config target_parameters trainable_token_indices use_bdlora velora_config".split()
        ),
        **{"ensure_weight_tying": False, "lora_bias": False, "use_qalora": False, "qalora_group_size": 16},
        **{"loftq_config": {}, "megatron_core": "megatron.core"},
    }
    default_targets: ClassVar[dict[str, Any]] = by_architecture(
        ("bert roberta xlm-roberta electra vit", "query value"),
        ("deberta-v2", "query_proj value_proj"),
        ("llama mistral mixtral qwen2 qwen3 gemma gemma2 gemma3_text opt bart", "q_proj v_proj"),
        ("gpt_neox bloom", "query_key_value"),
        ("gpt2 gpt_bigcode", "c_attn"),
        ("t5 mt5", "q v"),
    )
    adaptable: ClassVar[tuple[type[nn.Module], ...]] = (*LINEAR, nn.Embedding)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.r, int) or self.r < 1:
            raise AdapterError(f"r must be a whole number of at least 1, not {self.r!r}.")
        if not 0 <= self.lora_dropout < 1:
            raise AdapterError(f"lora_dropout must be at least 0 and below 1, not {self.lora_dropout!r}.")
        if self.bias not in ("none", "all", "lora_only"):
            raise AdapterError(f"bias must be none, all or lora_only, not {self.bias!r}.")
        if self.layers_pattern is not None and self.layers_to_transform is None:
            raise AdapterError("layers_pattern says where layers_to_transform count: give that too.")

    @property
    def scaling(self) -> float:
        """What the adapter's output is multiplied by, where no pattern says otherwise."""
        return self.scale("")

    def rank(self, where: str) -> int:
        """Of the layer of this name."""
        return _by_pattern(self.rank_pattern, where, self.r)

    def scale(self, where: str) -> float:
        """Of the layer of this name."""
        rank = self.rank(where)
        return _by_pattern(self.alpha_pattern, where, self.lora_alpha) / (rank**0.5 if self.use_rslora else rank)

    def fits(self, name: str) -> bool:
        """By name, and by layer number where that is asked."""
        if not super().fits(name):
            return False
        if self.layers_to_transform is None or isinstance(self.target_modules, str) or name in (self.target_modules or []):
            return True
        patterns = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern or [r"[^.]*"]
        wanted = [self.layers_to_transform] if isinstance(self.layers_to_transform, int) else self.layers_to_transform
        found = [match for pattern in patterns if (match := re.match(rf"(?:.*\.)?{pattern}\.(\d+)\.", name))]
        return any(int(match[1]) in wanted for match in found)

    def make_layer(self, base: nn.Module, route: Route) -> LoraLayer:
        """The module that takes the place of a layer."""
        self.fan_in_fan_out = isinstance(base, Conv1D)
        return (LoraEmbedding if isinstance(base, nn.Embedding) else LoraLinear)(base, route)


def _by_pattern(patterns: dict[str, Any], name: str, other: Any) -> Any:
    found = (value for pattern, value in patterns.items() if matches(name, rf"(.*\.)?({pattern})"))
    return next(found, other)
