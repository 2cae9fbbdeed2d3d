"""Several low-rank adapters made one. TIES: Yadav et al. 2023; DARE: Yu et al. 2024.

`linear` and its kin mix the matrices A and B each for themselves, `…svd` mixes what the adapters add to the weights and cuts the sum to
a rank, `cat` puts the matrices side by side and is exact.
"""

import math
import re
from dataclasses import replace
from typing import Any

import torch

from core.errors import AdapterError
from core.peft.lora import LoraConfig, LoraLayer

MIXES = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")
TYPES = ("cat", "svd", *MIXES, *(f"{kind}_svd" for kind in MIXES[1:]))


@torch.no_grad()
def combine(
    model: Any,
    adapters: list[str],
    weights: list[float],
    adapter_name: str,
    combination_type: str,
    svd_rank: int | None = None,
    svd_clamp: float | None = None,
    density: float | None = None,
    majority_sign_method: str = "total",
    **driver: Any,
) -> None:
    """A new adapter of a PeftModel, made of others by their weights. density: the share of numbers that pruning keeps. svd_clamp: a
    quantile that bounds what the decomposition gives. Raises AdapterError where they cannot be combined so."""
    kind = "linear" if len(adapters) == 1 else combination_type
    configs: list[Any] = [model.peft_config[name] for name in adapters]
    if kind not in TYPES:
        raise AdapterError(f"combination_type must be one of {', '.join(TYPES)}, not {kind!r}.")
    if not configs or len(weights) != len(configs) or not all(isinstance(config, LoraConfig) for config in configs):
        raise AdapterError("Name the LoRA adapters to combine, and a weight for each of them.")
    if kind not in ("linear", "cat", "svd") and density is None:
        raise AdapterError(f"combination_type={kind!r} needs density, the share of numbers to keep.")
    ranks = [max([config.r, *config.rank_pattern.values()]) for config in configs]
    if kind in MIXES and len(set(ranks)) > 1:
        raise AdapterError(f"combination_type={kind!r} needs adapters of one rank, these have {ranks}: use cat or svd.")
    rank = sum(ranks) if kind == "cat" else svd_rank or max(ranks) if kind.endswith("svd") else ranks[0]
    config = replace(configs[0], r=rank, lora_alpha=rank, alpha_pattern={}, rank_pattern={}, use_rslora=False, use_dora=False)
    config.init_lora_weights, config.target_modules = True, _targets(configs)
    model.add_adapter(adapter_name, config)
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and layer.has(adapter_name):
            own = [(name, weight) for name, weight in zip(adapters, weights, strict=True) if layer.has(name)]
            a, b = layer.low_rank(adapter_name)
            parts = [(*layer.low_rank(name), layer.scaling[name], weight) for name, weight in own]
            if kind == "cat":
                new = torch.cat([one[0] * one[2] * one[3] for one in parts]), torch.cat([one[1] for one in parts], 1)
            elif kind.endswith("svd"):
                way = kind.removesuffix("svd").rstrip("_") or "linear"
                summed = _mix(
                    way, [layer.change(name) for name, _ in own], [weight for _, weight in own], density, majority_sign_method
                )
                new = _cut(summed, rank, svd_clamp)
            else:
                roots = [math.sqrt(abs(one[2] * one[3])) for one in parts]
                signed = [math.copysign(root, one[2] * one[3]) for root, one in zip(roots, parts, strict=True)]
                new = (
                    _mix(kind, [one[0] for one in parts], signed, density, majority_sign_method),
                    _mix(kind, [one[1] for one in parts], roots, density, majority_sign_method),
                )
            a.zero_()[: len(new[0])] = new[0]
            b.zero_()[:, : new[1].shape[1]] = new[1]


def _targets(configs: list[Any]) -> list[str] | str:
    kinds = {type(config.target_modules) for config in configs}
    if kinds == {str}:
        return "|".join(f"({config.target_modules})" for config in configs)
    if kinds == {list}:
        return sorted({name for config in configs for name in config.target_modules})
    escaped = [
        config.target_modules
        if isinstance(config.target_modules, str)
        else rf"(.*\.)?({'|'.join(map(re.escape, config.target_modules))})"
        for config in configs
    ]
    return "|".join(f"({pattern})" for pattern in escaped)


def _mix(way: str, parts: list[torch.Tensor], weights: list[float], density: float | None, majority: str) -> torch.Tensor:
    """The weighted sum of matrices of one shape, pruned before; `ties` drops numbers against the majority's sign and averages."""
    stack = torch.stack([_pruned(part, way, density) for part in parts])
    scaled = stack * torch.tensor(weights, dtype=stack.dtype, device=stack.device).view(-1, *[1] * parts[0].dim())
    if not way.endswith("ties"):
        return scaled.sum(0)
    signs = stack.sign()
    elected = torch.where((stack if majority == "total" else signs).sum(0) >= 0, 1, -1)
    agree = signs == elected
    return (scaled * agree).sum(0) / agree.sum(0).clamp(min=1)


def _pruned(part: torch.Tensor, way: str, density: float | None) -> torch.Tensor:
    if way == "linear" or density is None or density >= 1:
        return part
    if density <= 0:
        raise AdapterError(f"density must be above 0, not {density}.")
    if way.startswith("dare"):  # by chance, and what is kept grows so that the expectation stays
        return part * torch.bernoulli(torch.full_like(part, density)) / density
    kept = torch.zeros_like(part).flatten()
    kept[part.abs().flatten().topk(int(density * part.numel())).indices] = 1
    return part * kept.view_as(part)


def _cut(change: torch.Tensor, rank: int, clamp: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """A (rank, in) and B (out, rank) of the nearest matrix of this rank."""
    u, s, vh = torch.linalg.svd(change, full_matrices=False)
    a, b = vh[:rank], u[:, :rank] * s[:rank]
    if clamp is not None:
        bound = torch.quantile(torch.cat([a.flatten(), b.flatten()]), clamp)
        a, b = a.clamp(-bound, bound), b.clamp(-bound, bound)
    return a, b
