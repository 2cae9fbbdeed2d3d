"""Adapter files: adapter_config.json and adapter_model.safetensors, the reference's names both ways."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.checkpoints import open_checkpoint
from core.checkpoints.safetensors_io import save
from core.errors import AdapterError
from core.peft.config import PeftConfig
from core.peft.layers import Adapted
from core.peft.targets import TargetConfig, bare, inside_adapter, matches

PROMPT = "prompt_embeddings"
TABLES = ("embed_tokens", "lm_head")  # whose adapters bring the table itself along


def adapter_tensors(model: Any, adapter: str) -> dict[str, torch.Tensor]:
    """What an adapter's file holds, by its names there: the tensors of the model itself, but of a prompt what its encoder makes."""
    config: PeftConfig = model.peft_config[adapter]
    found = places(model, adapter)
    if config.is_prompt_learning:
        with torch.no_grad():
            found[PROMPT] = model.prompt_encoder[adapter]()
    if _brings_tables(model, config):
        found |= _tables(model)
    return found


def places(model: Any, adapter: str) -> dict[str, torch.Tensor]:
    """The adapter's own tensors and the biases trained with it."""
    found: dict[str, torch.Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, Adapted):
            found |= {f"{name}.{leaf}": tensor for leaf, tensor in layer.tensors(adapter)}
    return found | dict(biases(model, model.peft_config[adapter]))


def biases(model: Any, config: PeftConfig) -> list[tuple[str, nn.Parameter]]:
    """Biases of the base that are trained with an adapter: none, all, or those of the adapted layers."""
    which = getattr(config, "bias", "none")
    if which == "none":
        return []
    named = [(name, p) for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias"]
    if which == "lora_only":
        return [(name, p) for name, p in named if name.endswith(".base_layer.bias")]
    return [(name, p) for name, p in named if not inside_adapter(name.replace(".base_layer.", "."))]


def _brings_tables(model: Any, config: PeftConfig) -> bool:
    """Whether a table of vectors is saved too: it is adapted, or has other rows than the base's files have."""
    if isinstance(config, TargetConfig) and _adapts_tables(config, model):
        return True
    file = Path(config.base_model_name_or_path or "") / "config.json"
    if not config.base_model_name_or_path or not file.is_file():
        return False
    rows = json.loads(file.read_text(encoding="utf-8")).get("vocab_size")
    return rows is not None and rows != getattr(model.config, "vocab_size", rows)


def _adapts_tables(config: TargetConfig, model: Any) -> bool:
    if isinstance(config.target_modules, str):
        names = [name for name, _ in model.get_base_model().named_modules() if name.rpartition(".")[2] in TABLES]
        return any(matches(name, config.target_modules) for name in names)
    return any(name in TABLES for name in config.target_modules or [])


def _tables(model: Any) -> dict[str, torch.Tensor]:
    base = model.get_base_model()
    layers = [base.get_input_embeddings() if base.embeddings_name else None, base.get_output_embeddings()]
    adapted = [bare(layer) for layer in layers if layer is not None and bare(layer) is not layer]
    wanted = adapted or [layer for layer in layers if layer is not None]
    return {
        f"{name}.{leaf}": tensor
        for name, module in model.named_modules()
        if any(module is layer for layer in wanted)
        for leaf, tensor in module.state_dict(keep_vars=True).items()
    }


def write(model: Any, adapter: str, folder: Path) -> None:
    """Both files of an adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    held: set[int] = set()
    for name, tensor in adapter_tensors(model, adapter).items():
        tensor = tensor.detach().contiguous()
        # a layer trained whole may hold one tensor under two names, which a file cannot
        tensors[name] = tensor.clone() if tensor.data_ptr() in held else tensor
        held.add(tensor.data_ptr())
    save(tensors, folder, metadata={"format": "pt"}, stem="adapter_model")
    model.peft_config[adapter].save_pretrained(folder)


def read(model: Any, folder: Path, adapter: str) -> None:
    """An adapter's file into the model. Raises AdapterError where they do not fit, naming the difference."""
    file = next((folder / n for n in ("adapter_model.safetensors", "adapter_model.bin") if (folder / n).is_file()), None)
    if file is None:
        raise AdapterError(f"{folder} has no adapter_model.safetensors.")
    with open_checkpoint(file) as checkpoint:
        put(model, adapter, {name: checkpoint.load(name) for name in checkpoint.names()}, str(file))


@torch.no_grad()
def put(model: Any, adapter: str, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Tensors by the names they have in a file, into the model. `source` is named where they do not fit."""
    own = places(model, adapter)
    if model.peft_config[adapter].is_prompt_learning:
        own[PROMPT] = model.prompt_encoder[adapter].table()
    known = own | _tables(model)
    base = type(model.get_base_model()).__name__
    # the reference's files say the bias of a layer trained whole a second and a third time
    tensors = {name: t for name, t in tensors.items() if ".original_module." not in name and ".modules_to_save." not in name}
    strange = [name for name in tensors if name not in known]
    missing = [name for name in own if name not in tensors]
    if strange or missing:
        what = f"it has '{strange[0]}', the model has not" if strange else f"it lacks '{missing[0]}'"
        raise AdapterError(f"{source} does not fit {base}: {what}.")
    for name, tensor in tensors.items():
        if tensor.shape != known[name].shape:
            told = f"'{name}' is {tuple(tensor.shape)}, the model asks for {tuple(known[name].shape)}"
            raise AdapterError(f"{source} does not fit {base}: {told}.")
    for name, tensor in tensors.items():
        known[name].copy_(tensor)


def get_peft_model_state_dict(model: Any, adapter_name: str = "default") -> dict[str, torch.Tensor]:
    """An adapter's tensors by the names of its file."""
    return {name: tensor.detach() for name, tensor in adapter_tensors(model, adapter_name).items()}


def set_peft_model_state_dict(model: Any, peft_model_state_dict: dict[str, torch.Tensor], adapter_name: str = "default") -> None:
    """Put such tensors into the model. Raises AdapterError where they do not fit."""
    put(model, adapter_name, peft_model_state_dict, "The state dict")
