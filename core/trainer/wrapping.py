"""A model among several processes: the same weights in each, or spread over them."""

from typing import Any

from torch import nn

from core.errors import TrainingError
from core.trainer.distributed import world


def wrapped(model: nn.Module, args: Any) -> nn.Module:
    """The model that a step calls: itself, or with gradients averaged over the processes. Li et al. 2020 (DDP)."""
    if world()[1] == 1:
        return model
    if args.fsdp:
        raise TrainingError("fsdp is not there yet: leave it out, and each process holds the whole model.")
    device = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=bool(args.ddp_find_unused_parameters),
        broadcast_buffers=False,
    )
