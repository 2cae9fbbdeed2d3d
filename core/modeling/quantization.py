"""Which matrices of a model stay in blocks, and how they come into it: `from_pretrained(…, quantization=…)`.

gguf   every matrix that the file has in blocks, as it has it (kinds other than q4_0, q4_1 and q8_0 become q8_0)
int8   q8_0, any checkpoint
int4   q4_1, the layer over the vocabulary q8_0: its rounding is what one hears first
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from core.checkpoints import Checkpoint
from core.checkpoints.blocks import COUNT, Blocks, quantize
from core.errors import ConfigError
from core.modeling.layers import ScaledEmbedding
from core.modeling.linear import Linear
from core.modeling.model import PreTrainedModel, put_module
from core.modeling.quantized import Quantized, quantized

GGUF = "gguf"
FORMS = {"int8": "q8_0", "int4": "q4_1"}
QUANTIZATIONS = (GGUF, *FORMS)
HEAD = "q8_0"
LEAST_ROWS = 32  # routers and classifiers are small and touchy: they stay as they are


def forms(model: PreTrainedModel, quantization: str | None) -> dict[str, str]:
    """Parameter name -> form its matrix is to have, or "gguf" for the file's. Raises ConfigError for an unknown quantization."""
    if quantization is None:
        return {}
    if quantization not in QUANTIZATIONS:
        raise ConfigError(f"quantization '{quantization}' is not known; known: {', '.join(QUANTIZATIONS)}.")
    linear, tables = _matrices(model, nn.Linear), _matrices(model, nn.Embedding)
    if quantization == GGUF:
        return dict.fromkeys([*linear, *tables], GGUF)
    head = model.get_output_embeddings()
    found = {name: HEAD if module is head else FORMS[quantization] for name, module in linear.items()}
    found |= {source: HEAD for name, source in model.tied_weights().items() if name in linear and source in tables}
    if not found:
        raise ConfigError(f"{type(model).__name__} has no linear layer that quantization='{quantization}' could make smaller.")
    return found


def _matrices(model: nn.Module, kind: type[nn.Linear] | type[nn.Embedding]) -> dict[str, nn.Module]:
    """The layers of this kind whose rows divide into blocks, by the names of their weights."""
    kinds = (nn.Linear, Linear) if kind is nn.Linear else (nn.Embedding, ScaledEmbedding)
    return {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if type(module) in kinds and module.weight.shape[1] % COUNT == 0 and module.weight.shape[0] >= LEAST_ROWS  # type: ignore[union-attr]
    }


def in_form(tensor: torch.Tensor, form: str | None) -> torch.Tensor | Blocks:
    """The matrix in blocks where that is asked for."""
    return tensor if form in (None, GGUF) else quantize(tensor, form)


def kept_blocks(file: Checkpoint, name: str, form: str, path: Path) -> Blocks | None:
    """The checkpoint's matrix of this name in blocks; None where the file's own are wanted and it has plain numbers there."""
    if form != GGUF:
        return quantize(file.load(name), form)
    if path.suffix != ".gguf":
        raise ConfigError(f"{path} is no GGUF file, whose blocks quantization='gguf' could keep; try {' or '.join(FORMS)}.")
    return file.load_blocks(name)


def install(model: PreTrainedModel, matrices: dict[str, Blocks], dtype: torch.dtype) -> None:
    """Put layers that hold these matrices in the place of those that would hold them plain; vectors of tables leave in `dtype`."""
    for name, blocks in matrices.items():
        path = name.rpartition(".")[0]
        put_module(model, path, quantized(model.get_submodule(path), blocks, dtype))


def plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state, with matrices in blocks unpacked; then all of it in float32, in which they are exact."""
    layers = dict(quantized_layers(model))
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if not layers:
        return state
    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        layer = layers.get(name.removesuffix(".blocks"))
        if layer is not None and name.endswith(".blocks"):
            found[f"{name.removesuffix('blocks')}weight"] = layer.dequantize()
        else:
            found[name] = tensor.float() if tensor.is_floating_point() else tensor
    return found


def quantized_layers(model: nn.Module) -> Iterator[tuple[str, Quantized]]:
    """The layers that hold blocks, by name; tied ones each."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, Quantized))
