"""The processes of one training, as torchrun starts them; one process alone needs nothing of this."""

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from core.errors import TrainingError


def world() -> tuple[int, int]:
    """This process's number and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def local_rank() -> int:
    """This process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def join(args: Any) -> None:
    """Meet the other processes, where torchrun has set the way to them. Raises TrainingError where they cannot be met."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or not dist.is_available() or dist.is_initialized():
        return
    backend = args.ddp_backend or ("nccl" if torch.cuda.is_available() and not args.use_cpu else "gloo")
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=args.ddp_timeout))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise TrainingError(f"The other processes cannot be met at {where}: {str(error).splitlines()[0]}.") from error


def total(number: torch.Tensor) -> torch.Tensor:
    """The sum over all processes."""
    if world()[1] > 1:
        number = number.clone()
        dist.all_reduce(number)
    return number


def gathered(thing: Any) -> list[Any]:
    """What each process has, in their order."""
    if world()[1] == 1:
        return [thing]
    found: list[Any] = [None] * world()[1]
    dist.all_gather_object(found, thing)
    return found


def agreed(thing: Any) -> Any:
    """What the first process says."""
    if world()[1] == 1:
        return thing
    box = [thing]
    dist.broadcast_object_list(box)
    return box[0]


def wait() -> None:
    """Until all are here."""
    if world()[1] > 1:
        dist.barrier()


def leave() -> None:
    """The end of it."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def explained(error: BaseException) -> TrainingError | None:
    """A lost process as one sentence; None for another error."""
    text = str(error)
    if world()[1] == 1 or isinstance(error, TrainingError) or not isinstance(error, RuntimeError):
        return None
    if any(word in text for word in ("Connection closed", "Connection reset", "gloo", "NCCL", "Timed out", "timeout", "barrier")):
        rank, size = world()
        return TrainingError(
            f"Process {rank} of {size} lost another process, which died or was silent: see that one's own message. "
            "The last checkpoint is kept; start the same command again with --resume_from_checkpoint true."
        )
    return None
