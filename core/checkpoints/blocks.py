"""Weights in blocks of 32 numbers, each with a scale of its own (and, in q4_1, a minimum): GGUF's q4_0, q4_1 and q8_0, byte for byte.

Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h. A matrix is (rows, columns / 32, bytes of a block); a block
begins with its scale in float16.
"""

from dataclasses import dataclass

import torch

from core.errors import ConfigError

COUNT = 32
SIZES = {"q4_0": 18, "q4_1": 20, "q8_0": 34}  # bytes of a block
AT_ONCE = 1 << 20  # numbers, so that what is computed on the way stays in the processor's cache


@dataclass
class Blocks:
    """A matrix in one of the forms of `SIZES`; `data` is uint8."""

    form: str
    data: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        """(rows, columns) of the numbers."""
        return torch.Size((*self.data.shape[:-2], self.data.shape[-2] * COUNT))

    def dequantize(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """(rows, columns) in this dtype; computed in float32."""
        return dequantize(self.data, self.form, dtype)


def numbers(data: torch.Tensor, form: str) -> torch.Tensor:
    """(…, bytes) -> (…, 32): what is stored; 0 to 15 (q4_0: of which 8 is to be taken), in q8_0 -128 to 127."""
    if form == "q8_0":
        return data[..., 2:].view(torch.int8)
    packed = data[..., SIZES[form] - COUNT // 2 :]
    return torch.cat([packed & 15, packed >> 4], -1)


def scales(data: torch.Tensor, form: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(…, bytes) -> what the numbers are multiplied by and what is then added, (…, 1) float32 each; None where nothing is."""
    found = data[..., : 4 if form == "q4_1" else 2].contiguous().view(torch.float16).float()
    scale = found[..., :1]
    if form == "q4_1":
        return scale, found[..., 1:]
    return scale, scale * -8 if form == "q4_0" else None


def dequantize(data: torch.Tensor, form: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(…, blocks, bytes) -> (…, blocks * 32) of this dtype."""
    flat = data.reshape(-1, data.shape[-1])
    out = torch.empty(len(flat), COUNT, dtype=dtype, device=data.device)
    step = AT_ONCE // COUNT
    for at in range(0, len(flat), step):
        part = flat[at : at + step]
        scale, shift = scales(part, form)
        values = numbers(part, form).float().mul_(scale)
        out[at : at + step] = values if shift is None else values.add_(shift)
    return out.view(*data.shape[:-2], data.shape[-2] * COUNT)


def quantize(weight: torch.Tensor, form: str) -> Blocks:
    """(rows, columns) in any floating dtype -> blocks, each number rounded to the nearest that its block can say.

    Raises ConfigError where the columns do not divide into blocks.
    """
    if weight.shape[-1] % COUNT:
        raise ConfigError(f"A weight of shape {tuple(weight.shape)} does not divide into blocks of {COUNT} columns.")
    blocks = weight.detach().unflatten(-1, (-1, COUNT))
    data = torch.empty(*blocks.shape[:-1], SIZES[form], dtype=torch.uint8, device=weight.device)
    step = max(AT_ONCE // weight.shape[-1], 1)
    for at in range(0, len(blocks), step):
        data[at : at + step] = _quantized(blocks[at : at + step].float(), form)
    return Blocks(form, data)


def _quantized(values: torch.Tensor, form: str) -> torch.Tensor:
    """(…, 32) float32 -> (…, bytes)."""
    low, high = values.aminmax(dim=-1, keepdim=True)
    if form == "q4_1":
        head = torch.cat([(high - low) / 15, low], -1).half()
    elif form == "q4_0":  # the larger side, with its sign, becomes -8
        head = (torch.where(-low > high, low, high) / -8).half()
    else:
        head = (torch.maximum(high, -low) / 127).half()
    scale = head[..., :1].float()
    inverse = torch.where(scale == 0, 0, 1 / scale)
    if form == "q8_0":
        packed = (values * inverse).round_().clamp_(-127, 127).to(torch.int8).view(torch.uint8)
    else:
        shift = 8 if form == "q4_0" else -head[..., 1:].float() * inverse
        whole = (values * inverse + shift).round_().clamp_(0, 15).to(torch.uint8)
        packed = whole[..., :16] | whole[..., 16:] << 4
    return torch.cat([head.view(torch.uint8), packed], -1)
