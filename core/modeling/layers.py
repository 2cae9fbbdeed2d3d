"""Small blocks several architectures share."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from core.errors import ConfigError


def _tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x, approximate="tanh")


def _quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


def _squared_relu(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()


def _clipped_gelu(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x).clamp(-10, 10)


def _same(x: torch.Tensor) -> torch.Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "gelu_fast": _tanh_gelu,
    "gelu_python": F.gelu,
    "gelu_10": _clipped_gelu,
    "quick_gelu": _quick_gelu,
    "linear": _same,
    "mish": F.mish,
    "relu": F.relu,
    "relu2": _squared_relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


def activation(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function a config.json names. Raises ConfigError for an unknown name."""
    if name not in ACTIVATIONS:
        raise ConfigError(f"activation '{name}' is not known; known: {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


class Conv1D(nn.Module):
    """GPT-2's linear layer: the weight is (in, out), a Linear's transposed. Radford et al. 2019."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.empty(nx, nf))
        self.bias = nn.Parameter(torch.zeros(nf))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, nx) -> (…, nf)."""
        return F.linear(x, self.weight.t(), self.bias)

    def extra_repr(self) -> str:
        """As in a printed model."""
        return f"nf={self.nf}, nx={self.nx}"


class ScaledEmbedding(nn.Embedding):
    """A table whose vectors are multiplied by `scale`. Vaswani et al. 2017, 3.4."""

    def __init__(self, rows: int, width: int, padding: int | None, scale: float) -> None:
        super().__init__(rows, width, padding)
        self.scale = scale

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(…) -> (…, width); the scale is rounded to the weights' dtype, as it was in training."""
        return super().forward(ids) * torch.tensor(self.scale, dtype=self.weight.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) * weight, computed in float32. Zhang & Sennrich 2019."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def reset_parameters(self) -> None:
        """As it is before any training."""
        nn.init.ones_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, width) -> (…, width)."""
        if torch.is_grad_enabled() and x.requires_grad:
            return _LeanNorm.apply(x, self.weight, self.eps)  # type: ignore[return-value]
        if x.dtype == self.weight.dtype == torch.float32:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return self.weight * F.rms_norm(x.float(), x.shape[-1:], eps=self.eps).to(x.dtype)

    def extra_repr(self) -> str:
        """As in a printed model."""
        return f"{self.weight.numel()}, eps={self.eps}"


class _LeanNorm(torch.autograd.Function):
    """RMSNorm that keeps its input, which others keep too, and one number a row, where autograd would keep every step."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:  # type: ignore[override]
        whole = x.float()
        scale = whole.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return weight * (whole * scale).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        x, weight, scale = ctx.saved_tensors
        unit = x.float() * scale
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (gradient * unit.to(x.dtype)).flatten(0, -2).sum(0).to(weight.dtype)
        flow = (gradient * weight).float()
        mean = (flow * unit).mean(-1, keepdim=True)
        return flow.addcmul_(unit, mean, value=-1).mul_(scale).to(x.dtype), of_weight, None


def gated(act: Callable[[torch.Tensor], torch.Tensor], gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """act(gate) * up. Shazeer 2020."""
    if act is F.silu and torch.is_grad_enabled() and (gate.requires_grad or up.requires_grad):
        return _LeanGate.apply(gate, up)  # type: ignore[return-value]
    return act(gate) * up


class _LeanGate(torch.autograd.Function):
    """silu(gate) * up that keeps its two inputs and not silu(gate) beside them."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient * up, gate), F.silu(gate).mul_(gradient)
