"""Losses of the heads. Labels of -100 do not count."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from core.errors import ConfigError


def token_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Mean cross entropy of (…, classes) against (…); with `num_items_in_batch` the sum over it, for accumulated steps."""
    logits, labels = logits.flatten(0, -2).float(), labels.flatten().to(logits.device)
    if num_items_in_batch is None:
        return F.cross_entropy(logits, labels)
    return F.cross_entropy(logits, labels, reduction="sum") / num_items_in_batch


def causal_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """logits (batch, tokens, vocabulary), labels (batch, tokens): each position predicts the next token."""
    return token_loss(logits[:, :-1], labels[:, 1:], num_items_in_batch)


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, config: Any) -> torch.Tensor:
    """(batch, labels), by `config.problem_type`; where that is not set, one label regresses, integers choose one class and
    floats several."""
    labels = labels.to(logits.device)
    if config.problem_type is None:
        whole = labels.dtype in (torch.long, torch.int)
        several = "single_label_classification" if whole else "multi_label_classification"
        config.problem_type = "regression" if config.num_labels == 1 else several
    if config.problem_type == "regression":
        return F.mse_loss(logits.squeeze(), labels.squeeze().to(logits.dtype))
    if config.problem_type == "single_label_classification":
        return F.cross_entropy(logits.view(-1, config.num_labels), labels.view(-1))
    if config.problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels)
    raise ConfigError(f"problem_type '{config.problem_type}' is not known.")


def unseen_loss(
    head: Callable[[torch.Tensor], torch.Tensor],
    hidden: torch.Tensor,
    labels: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    shift: bool,
    num_items_in_batch: Any = None,
) -> torch.Tensor:
    """The loss of `head(hidden)` where nobody looks at the logits: they are made only where a label is, a part at a time, and each
    part's gradient is taken at once, so that no more than one part is in memory.

    hidden (batch, tokens, width), labels (batch, tokens); shift: each position predicts the next token. parameters: those of the
    head that are trained. The same as `causal_loss` and `token_loss` of the logits.
    """
    if shift:
        hidden, labels = hidden[:, :-1], labels[:, 1:]
    labels = labels.to(hidden.device)
    counted = labels != -100
    picked, targets = hidden[counted], labels[counted]
    if torch.is_grad_enabled() and (picked.requires_grad or parameters):
        total = _InParts.apply(head, picked, targets, *parameters)
    else:
        total = torch.zeros((), device=hidden.device)
        for part in _parts(targets):
            total += F.cross_entropy(head(picked[part]).float(), targets[part], reduction="sum")
    return total / (targets.numel() if num_items_in_batch is None else num_items_in_batch)  # type: ignore[operator]


PART = 256  # rows of logits at a time: with a vocabulary of 50,000 some 50 MB


def _parts(targets: torch.Tensor) -> list[slice]:
    return [slice(begin, begin + PART) for begin in range(0, targets.numel(), PART)]


class _InParts(torch.autograd.Function):
    """Sum of the parts' losses; their gradients are there before backward asks."""

    @staticmethod
    def forward(ctx: Any, head: Any, picked: torch.Tensor, targets: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=picked.device)
        of_picked = torch.empty_like(picked) if picked.requires_grad else None
        sums: list[torch.Tensor | None] = [None] * len(parameters)
        for part in _parts(targets):
            with torch.enable_grad():
                states = picked[part].detach().requires_grad_(of_picked is not None)
                loss = F.cross_entropy(head(states).float(), targets[part], reduction="sum")
                wanted = [*([states] if of_picked is not None else []), *parameters]
                found = list(torch.autograd.grad(loss, wanted))
            total += loss.detach()
            if of_picked is not None:
                of_picked[part] = found.pop(0)
            sums = [new if old is None else old.add_(new) for old, new in zip(sums, found, strict=True)]
        ctx.found = (of_picked, *sums)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        return None, *(_scaled(found, gradient) for found in (ctx.found[0], None, *ctx.found[1:]))


def _scaled(found: torch.Tensor | None, factor: torch.Tensor) -> torch.Tensor | None:
    return None if found is None else found.mul_(factor.to(found.dtype))
