"""A model over several devices: which part goes where, and activations that follow.

Only the stacks of layers are spread; what stands outside them (embeddings, last norm, head) stays on one device, so that what is
computed between layers always meets there.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from core.checkpoints.safetensors_io import parse_size
from core.errors import CheckpointError, ConfigError
from core.modeling.devices import usable_device
from core.modeling.masks import Mask

AUTO = ("auto", "balanced", "balanced_low_0", "sequential")
SPARE = 0.9  # of a device's free memory; the rest is for activations and the cache

Place = str | int | torch.device


def plan(sizes: Mapping[str, int], outside: int, memory: Mapping[str, int]) -> dict[str, str]:
    """Where to put each layer, and "" (all that is outside the layers).

    sizes: bytes of each layer, in order; outside: bytes of the rest; memory: bytes that each device may take, the fastest first.
    The rest goes with the first layer; layers fill the devices in order and never go back, so activations cross from one device to
    the next once. Raises CheckpointError where they do not fit.
    """
    total, devices = outside + sum(sizes.values()), list(memory)
    fits = [device for device in devices if memory[device] >= outside + next(iter(sizes.values()), 0)]
    if fits:
        devices = devices[devices.index(fits[0]) :]
        left, place, at = dict(memory), {"": fits[0]}, 0
        left[fits[0]] -= outside
        for name, size in sizes.items():
            while at < len(devices) and left[devices[at]] < size:
                at += 1
            if at == len(devices):
                break
            left[devices[at]] -= size
            place[name] = devices[at]
        else:
            return place
    have = ", ".join(f"{device} {size / 1e9:.1f} GB" for device, size in memory.items())
    raise CheckpointError(f"The model needs {total / 1e9:.1f} GB, which do not fit into {have}; use a smaller dtype or model.")


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The layers by name: entries of the outermost module lists."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{layer}.") for layer in found):
            found |= {f"{name}.{i}": layer for i, layer in enumerate(module)}
    return found


def free_memory(max_memory: Mapping[Any, int | str] | None = None) -> dict[str, int]:
    """Bytes that a model may take: the GPUs', then the CPU's; of `max_memory` where that is given (0 stands for "cuda:0")."""
    if max_memory is not None:
        return {f"cuda:{device}" if isinstance(device, int) else device: parse_size(size) for device, size in max_memory.items()}
    found = {f"cuda:{i}": int(torch.cuda.mem_get_info(i)[0] * SPARE) for i in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        found["mps"] = int(torch.mps.recommended_max_memory() * SPARE)
    import psutil

    return found | {"cpu": int(psutil.virtual_memory().available * SPARE)}


def device_map(
    model: nn.Module, wanted: Place | Mapping[str, Place], dtype: torch.dtype | None, max_memory: Any
) -> dict[str, str]:
    """Module name -> device, "" for all that is not named. Tied parameters count once; one layer is never split."""
    if isinstance(wanted, Mapping):
        modules = dict(model.named_modules())
        if lost := [name for name in wanted if name not in modules]:
            raise ConfigError(f"device_map names '{lost[0]}', which is no module of {type(model).__name__}.")
        return _together(model, {name: str(usable_device(place)) for name, place in wanted.items()})
    if wanted not in AUTO:
        return {"": str(usable_device(wanted))}
    memory = free_memory(max_memory)
    if list(memory) == ["cpu"]:
        return {"": str(usable_device("auto"))}  # with its warning; too large a model may still be mapped from its file
    layers = layers_of(model)
    sizes = {name: _bytes(layer, dtype) for name, layer in layers.items()}
    return plan(sizes, _bytes(model, dtype) - sum(sizes.values()), memory)


def _bytes(module: nn.Module, dtype: torch.dtype | None) -> int:
    return sum(p.numel() * (dtype or p.dtype).itemsize for p in module.parameters())


def _together(model: nn.Module, places: dict[str, str]) -> dict[str, str]:
    """The places, where no tied tensor is wanted on two devices."""
    first: dict[int, tuple[str, str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        device = device_of(name, places)
        other, there = first.setdefault(id(parameter), (name, device))
        if there != device:
            raise ConfigError(f"device_map puts {name} on {device} and {other} on {there}; they are tied and must be together.")
    return places


def device_of(name: str, places: Mapping[str, str]) -> str:
    """The device of a parameter: that of the longest module name it begins with."""
    while name not in places:
        if not name:
            raise ConfigError('device_map does not cover the whole model; add a place for "".')
        name = name.rpartition(".")[0]
    return places[name]


def follow(model: nn.Module, places: Mapping[str, str]) -> None:
    """Hooks that bring what a module is given to where its parameters are."""
    if len(set(places.values())) < 2:
        return
    main = device_of(next(name for name, _ in model.named_parameters()), places)
    for name, module in model.named_modules():
        if name in places or next(module.children(), None) is None:
            device = device_of(name, places)
            module.register_forward_pre_hook(partial(_bring, torch.device(device)), with_kwargs=True)
    model.register_forward_pre_hook(partial(_bring, torch.device(main)), with_kwargs=True)


def _bring(device: torch.device, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return moved(args, device), moved(kwargs, device)


def moved(value: Any, device: torch.device) -> Any:
    """Tensors on the device, also inside masks and containers; everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mask):
        return Mask(moved(value.bias, device), value.causal, value.stretches, moved(value.allowed, device))
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(moved(item, device) for item in value)
    return value
