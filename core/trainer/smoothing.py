"""Two things that make a training less sure of itself: smoothed targets and noise on the embeddings."""

from typing import Any

import torch
from torch import nn


def smoothed_loss(
    logits: torch.Tensor, labels: torch.Tensor, epsilon: float, shift: bool, num_items_in_batch: Any = None
) -> torch.Tensor:
    """Cross entropy against targets of which `epsilon` is spread over all classes, mean over the labels that are not -100, or the
    sum over `num_items_in_batch`. Szegedy et al. 2016, 7."""
    if shift:
        logits, labels = logits[..., :-1, :], labels[..., 1:]
    surprise = -torch.log_softmax(logits.float(), -1)
    ignored = labels == -100
    right = surprise.gather(-1, labels.clamp(min=0)[..., None])[..., 0].masked_fill(ignored, 0.0).sum()
    every = surprise.mean(-1).masked_fill(ignored, 0.0).sum()
    count = (~ignored).sum() if num_items_in_batch is None else num_items_in_batch
    return ((1 - epsilon) * right + epsilon * every) / count


class Noise:
    """Uniform noise of alpha / sqrt(tokens * width) on the token vectors while training, until `remove`. Jain et al. 2023."""

    def __init__(self, embeddings: nn.Module, alpha: float) -> None:
        self.alpha = alpha
        self.handle = embeddings.register_forward_hook(self._add)

    def _add(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return output
        size = self.alpha / (output.shape[1] * output.shape[2]) ** 0.5
        return output + torch.zeros_like(output).uniform_(-size, size)

    def remove(self) -> None:
        """No more noise."""
        self.handle.remove()
