"""What turns gradients into steps, by name."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from core.errors import TrainingError
from core.modeling.layers import RMSNorm

SPARED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)", re.IGNORECASE)


class Adafactor(torch.optim.Optimizer):
    """AdamW's second moment kept as one row and one column a matrix. Shazeer & Stern 2018, with a learning rate from outside."""

    def __init__(
        self, params: Any, lr: float, weight_decay: float = 0.0, clip_threshold: float = 1.0, decay_rate: float = -0.8
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "clip_threshold": clip_threshold, "decay_rate": decay_rate}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step on the gradients there are."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad.float(), self.state[parameter]  # type: ignore[union-attr]
        state["step"] = state.get("step", 0) + 1
        beta = 1.0 - state["step"] ** group["decay_rate"]
        squared = gradient**2 + 1e-30
        if gradient.dim() >= 2:
            row = _mean(state, "exp_avg_sq_row", squared.mean(-1), beta)
            column = _mean(state, "exp_avg_sq_col", squared.mean(-2), beta)
            update = (row / row.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1) * column.unsqueeze(-2).rsqrt() * gradient
        else:
            update = _mean(state, "exp_avg_sq", squared, beta).rsqrt() * gradient
        length = update.norm(2) / update.numel() ** 0.5
        update = update / (length / group["clip_threshold"]).clamp(min=1.0) * group["lr"]
        whole = parameter.float()
        parameter.copy_(whole - group["weight_decay"] * group["lr"] * whole - update)


def _mean(state: dict[str, Any], name: str, new: torch.Tensor, beta: float) -> torch.Tensor:
    """A running mean kept in the state."""
    state[name] = state[name] * beta + new * (1 - beta) if name in state else new * (1 - beta)
    return state[name]


class AdamW(torch.optim.AdamW):
    """Loshchilov & Hutter 2017: PyTorch's step, without what only its compiler needs."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))  # type: ignore[assignment]


def _leave_compiler() -> None:
    """PyTorch loads its compiler, most of a second, when an optimiser is first made, to tell it that these methods are not for it.
    Nothing is compiled here: they are marked as told. A later PyTorch that keeps the mark elsewhere only takes the second again."""
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        method = inspect.unwrap(getattr(torch.optim.Optimizer, name))
        method.__dynamo_disable = method


_leave_compiler()


def _adamw(**options: bool) -> Callable[..., torch.optim.Optimizer]:
    def make(groups: Any, args: Any, **further: Any) -> torch.optim.Optimizer:
        betas = (args.adam_beta1, args.adam_beta2)
        return AdamW(groups, lr=args.learning_rate, **{"betas": betas, "eps": args.adam_epsilon, **options, **further})

    return make


def _adafactor(groups: Any, args: Any, **further: Any) -> torch.optim.Optimizer:
    return Adafactor(groups, lr=args.learning_rate, **further)


def _sgd(groups: Any, args: Any, **further: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=args.learning_rate, **further)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw_torch": _adamw(),
    "adamw_torch_fused": _adamw(fused=True),
    "adafactor": _adafactor,
    "sgd": _sgd,
}


def make_optimizer(model: nn.Module, args: Any) -> torch.optim.Optimizer:
    """The optimiser `args` names over the parameters that are trained; biases and norms do not decay. Raises TrainingError where
    nothing is left to train."""
    decayed, spared = [], []
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm | RMSNorm)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            without = SPARED.search(name) or name.rpartition(".")[0] in norms
            (spared if without else decayed).append(parameter)
    if not decayed and not spared:
        raise TrainingError("Nothing is left to train: every parameter is frozen.")
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return OPTIMIZERS[args.optim](groups, args, **_further(args.optim_args))


def _further(text: str | None) -> dict[str, Any]:
    """'momentum=0.9, nesterov=true' -> keywords."""
    import yaml

    pairs = [pair.split("=", 1) for pair in (text or "").replace(" ", "").split(",") if pair]
    if any(len(pair) != 2 for pair in pairs):
        raise TrainingError(f"optim_args must be name=value, …, not {text!r}.")
    return {name: yaml.safe_load(value) for name, value in pairs}
