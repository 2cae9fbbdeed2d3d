"""Copies of quantised weights in the order of torch's packed 4-bit product for CPUs, kept outside the module tree.

A copy is made when a layer, or several that read the same, are first asked for few rows. It belongs to the first of them weakly: it
goes with the layer, and `.to()`, `deepcopy` and `load_state_dict` never meet it. It is made again where the blocks are others or were
written to.

The product knows only 4 bits, (n - 8) * scale + shift in groups of 32 columns. Eight bits are two times four: q = 16 * high + low, so
such a weight becomes one of twice the columns, [high | low], which multiplies [x, x]; nothing is lost.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from core.checkpoints.blocks import COUNT, numbers, scales

if TYPE_CHECKING:
    from core.modeling.quantized import QuantizedLinear

    Layers = tuple[QuantizedLinear, ...]

ROWS = 48  # with more rows, unpacking the weight for one dense product is faster (measured; on two cores)
MULTIPLE = 16  # of output columns, which the product wants
AT_ONCE = 1 << 10  # weight rows repacked at a time: their numbers are 32-bit on the way


@dataclass
class _View:
    """weight: as torch orders it; ranges (columns / 32, rows, 2) bfloat16: scale and shift; sources: the blocks it was made of, with
    their versions."""

    weight: torch.Tensor
    ranges: torch.Tensor
    sources: list[tuple[torch.Tensor, int]]

    def holds(self, layers: "Layers") -> bool:
        """Whether it is still what these layers hold."""
        return len(self.sources) == len(layers) and all(
            layer.blocks is blocks and _version(blocks) == version
            for layer, (blocks, version) in zip(layers, self.sources, strict=True)
        )


_views: "WeakKeyDictionary[QuantizedLinear, _View]" = WeakKeyDictionary()  # by the first of the layers


def product(x: torch.Tensor, layers: "Layers") -> torch.Tensor | None:
    """x (…, in) with the matrices of layers of one form, one below the other -> (…, all out); None where the packed product cannot do
    it or would be slower."""
    outputs = sum(layer.out_features for layer in layers)
    if x.dtype is not torch.bfloat16 or not x.is_cpu or outputs % MULTIPLE:
        return None
    rows = x.reshape(-1, layers[0].in_features)
    if not 0 < len(rows) <= ROWS:
        return None
    view = _views.get(layers[0])
    if view is None or not view.holds(layers):
        view = _views[layers[0]] = _pack(layers)
    if layers[0].form == "q8_0":
        rows = torch.cat([rows, rows], 1)
    y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, view.weight, COUNT, view.ranges)
    return y.view(*x.shape[:-1], outputs)


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _pack(layers: "Layers") -> _View:
    blocks, form = torch.cat([layer.blocks for layer in layers]), layers[0].form
    parts = [_four_bits(part, form) for part in blocks.split(AT_ONCE)]
    weight = torch.cat([torch.ops.aten._convert_weight_to_int4pack_for_cpu(part, 2) for part, _ in parts])
    ranges = torch.cat([ranges for _, ranges in parts]).to(torch.bfloat16).transpose(0, 1).contiguous()
    return _View(weight, ranges, [(layer.blocks, _version(layer.blocks)) for layer in layers])


def _four_bits(blocks: torch.Tensor, form: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, blocks, bytes) -> numbers of 0 to 15 (rows, columns) int32, and scale and shift (rows, columns / 32, 2)."""
    found, (scale, shift) = numbers(blocks, form), scales(blocks, form)
    if form == "q8_0":
        high, low = (found >> 4) + 8, found & 15
        found = torch.cat([high, low], 1)
        ranges = torch.cat([torch.cat([scale * 16, scale * 0], -1), torch.cat([scale, scale * 8], -1)], 1)
    elif form == "q4_1":
        assert shift is not None
        ranges = torch.cat([scale, shift + scale * 8], -1)
    else:
        ranges = torch.cat([scale, scale * 0], -1)
    return found.flatten(1).int(), ranges
