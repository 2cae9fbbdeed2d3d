"""How a low-rank adapter starts. PiSSA: Meng et al. 2024; OLoRA: Büyükakyüz 2024."""

import math
import re
from typing import Any

import torch
from torch import nn

from core.errors import AdapterError
from core.modeling.quantized import Quantized

SCHEMES = "True, False, 'gaussian', 'pissa', 'pissa_niter_N' or 'olora'"


def start(layer: Any, name: str, scheme: bool | str) -> None:
    """Fill A and B of an adapter. PiSSA and OLoRA take what they begin with out of the layer's weight, so that the sum stays."""
    a, b = layer.low_rank(name)
    table = isinstance(layer.base_layer, nn.Embedding)
    word = str(scheme).lower()
    if word == "false":
        for matrix in (a, b):
            nn.init.normal_(matrix) if table else nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))
    elif table and word in ("true", "gaussian"):  # the rows of a table are picked, not summed: its A is the one to be zero
        nn.init.zeros_(a)
        nn.init.normal_(b)
    elif word in ("true", "gaussian"):
        nn.init.zeros_(b)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5)) if word == "true" else nn.init.normal_(a, std=1 / a.shape[0])
    elif not table and (word in ("pissa", "olora") or re.fullmatch(r"pissa_niter_\d+", word)):
        _from_weight(layer, name, word)
    else:
        raise AdapterError(f"init_lora_weights must be {SCHEMES}, not {scheme!r}{' for a table of vectors' if table else ''}.")


def _from_weight(layer: Any, name: str, word: str) -> None:
    if isinstance(layer.base_layer, Quantized):
        raise AdapterError(
            f"init_lora_weights={word!r} changes the weight, and a quantised one is fixed: load the model in full."
        )
    a, b = layer.low_rank(name)
    weight, rank, scale = layer.matrix(), a.shape[0], layer.scaling[name]
    full = weight.float()
    if word == "olora":
        q, r = torch.linalg.qr(full)
        a.copy_(r[:rank])
        b.copy_(q[:, :rank])
    else:
        if word == "pissa":
            u, s, vh = torch.linalg.svd(full, full_matrices=False)
        else:
            u, s, v = torch.svd_lowrank(full, rank, niter=int(word.rpartition("_")[2]))
            vh = v.T
        root = (s[:rank] / scale).sqrt()
        a.copy_(root[:, None] * vh[:rank])
        b.copy_(u[:, :rank] * root)
    weight.copy_((full - scale * b @ a).to(weight.dtype))
