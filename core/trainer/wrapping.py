"""A model among several processes: the same weights in each, or spread over them."""

from typing import Any

from torch import nn

from core.trainer.distributed import world


def spread(args: Any) -> bool:
    """Whether the processes share the weights out among them."""
    return bool(args.fsdp) and world()[1] > 1


def wrapped(model: nn.Module, args: Any) -> nn.Module:
    """The model that a step calls: itself, or with gradients averaged over the processes. Li et al. 2020 (DDP)."""
    if world()[1] == 1 or spread(args):
        return model
    device = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=bool(args.ddp_find_unused_parameters),
    )
