"""Losses of the heads. Labels of -100 do not count."""

from typing import Any

import torch
import torch.nn.functional as F

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
