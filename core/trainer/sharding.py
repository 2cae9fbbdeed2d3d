"""Weights, gradients and optimiser states spread over the processes, a layer gathered while it is computed: PyTorch's FSDP2.

Zhao et al. 2023. Files are those of one process: what is spread is put together in the first process before it is written, and
spread again when it is read.
"""

import copy
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.experimental import implicit_replication

from core.errors import TrainingError
from core.peft.saving import adapter_tensors
from core.trainer.checkpoints import load_weights

SPREADABLE = ("adamw_torch", "adamw_torch_fused", "sgd")


class Sharded:
    """A model whose layers are spread, and its `frame`: the same modules without memory, to put whole weights into."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()}
        self.frame = copy.deepcopy(model, {**empty, **{id(buffer): buffer for buffer in model.buffers()}})
        mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
        for layer in layers(model):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)

    def whole(self, for_file: bool = False) -> Any:
        """The model on the CPU of the first process, None in the others; all must call it. for_file: of an adapted model only what its
        files hold, the rest stays without memory."""
        everything = not for_file or not hasattr(self.frame, "peft_config") or self._files_hold_frozen()
        named = self.model.named_parameters(remove_duplicate=False)
        state = {name: gathered(p) for name, p in named if everything or p.requires_grad}
        if dist.get_rank() != 0:
            return None
        model: Any = copy.deepcopy(self.frame, {id(buffer): buffer for buffer in self.frame.buffers()})
        model.load_state_dict(state, strict=False, assign=True)
        if hasattr(model, "tie_weights"):
            model.tie_weights()
        return model.to("cpu") if everything else model

    def _files_hold_frozen(self) -> bool:
        """Whether an adapter's file has more than what is trained: a table, or an adapter that is not in use."""
        frame: Any = self.frame
        return any(not t.requires_grad for name in frame.peft_config for t in adapter_tensors(frame, name).values())

    def read(self, folder: Path) -> None:
        """A checkpoint's weights or adapter, each process its share."""
        with implicit_replication():
            load_weights(self.model, folder)

    def states(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimiser's state as one process would have it, in the first; all must call it."""

        def put_together(state: Any) -> Any:
            if isinstance(state, dict):
                return {name: put_together(value) for name, value in state.items()}
            return gathered(state) if isinstance(state, DTensor) else state

        return put_together(optimizer.state_dict())

    def take_states(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Such a state, spread as the parameters are."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]

        def share(value: Any, like: torch.Tensor) -> Any:
            if not isinstance(like, DTensor) or not torch.is_tensor(value) or value.shape != like.shape:
                return value
            return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

        shares = {n: {name: share(value, parameters[n]) for name, value in own.items()} for n, own in state["state"].items()}
        optimizer.load_state_dict({**state, "state": shares})


def layers(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model: what its outermost lists of modules hold."""
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            found += list(child)
        elif not isinstance(child, nn.ModuleDict):
            found += layers(child)
    return found


def gathered(tensor: torch.Tensor) -> torch.Tensor | None:
    """A spread tensor put together, on the CPU of the first process."""
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().cpu() if dist.get_rank() == 0 else None


def check(args: Any) -> None:
    """Raises TrainingError for what cannot be done with spread weights."""
    if "full_shard" not in str(args.fsdp):
        raise TrainingError(f"fsdp can be full_shard, not {args.fsdp!r}.")
    if args.optim not in SPREADABLE:
        raise TrainingError(f"fsdp spreads the states of {', '.join(SPREADABLE)}, not of {args.optim}.")
    if args.fp16:
        raise TrainingError("fsdp goes with bf16 or full precision, not with fp16.")
    if getattr(args, "predict_with_generate", False):
        raise TrainingError("fsdp cannot write texts in an evaluation: leave out eval_strategy and predict_with_generate.")
