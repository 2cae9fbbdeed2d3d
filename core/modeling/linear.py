"""Linear layers of decoders: as torch's, quicker where a token is decoded on a CPU."""

import torch
from torch import nn

from core.modeling import packed
from core.modeling.quantized import QuantizedLinear


class Linear(nn.Linear):
    """nn.Linear; one row in bfloat16 on a CPU goes through the matrix-vector product, which reads the weight up to twice as fast."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(…, in) -> (…, out)."""
        if input.dtype is self.weight.dtype is torch.bfloat16 and input.numel() == self.in_features and input.is_cpu:
            y = torch.mv(self.weight, input.reshape(-1))
            return (y if self.bias is None else y + self.bias).view(*input.shape[:-1], -1)
        return super().forward(input)


def together(x: torch.Tensor, *layers: nn.Module) -> list[torch.Tensor]:
    """What each layer makes of the same x (…, in): matrices in blocks as one packed product, unless a hook watches one of them."""
    if _plain(layers) and not (torch.is_grad_enabled() and x.requires_grad):
        y = packed.product(x, layers)  # type: ignore[arg-type]
        if y is not None:
            parts = y.split([layer.out_features for layer in layers], -1)  # type: ignore[misc]
            return [layer.biased(part) for part, layer in zip(parts, layers, strict=True)]  # type: ignore[operator]
    return [layer(x) for layer in layers]


def _plain(layers: tuple[nn.Module, ...]) -> bool:
    first = layers[0]
    return type(first) is QuantizedLinear and all(
        type(layer) is QuantizedLinear and layer.form == first.form and not layer._forward_hooks and not layer._forward_pre_hooks
        for layer in layers
    )
