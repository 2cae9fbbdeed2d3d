"""PeftModel: a frozen base with named adapters; their files are those of the reference library, both ways."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from core.checkpoints import open_checkpoint
from core.checkpoints.safetensors_io import save
from core.errors import AdapterError
from core.modeling.model import PreTrainedModel
from core.peft.config import LoraConfig
from core.peft.lora import ADAPTABLE, LoraLayer, SavedModule

# What is adapted where nobody says; an architecture that is not here wants to be told, as in peft.
DEFAULT_TARGETS = {
    kind: targets.split()
    for kinds, targets in (
        ("bert roberta xlm-roberta electra", "query value"),
        ("deberta-v2", "query_proj value_proj"),
        ("llama mistral mixtral qwen2 qwen3 gemma gemma2 gemma3_text opt bart", "q_proj v_proj"),
        ("gpt_neox bloom", "query_key_value"),
        ("gpt2 gpt_bigcode", "c_attn"),
        ("t5 mt5", "q v"),
    )
    for kind in kinds.split()
}
PREFIX = "base_model.model."


class _Holder(nn.Module):
    """Stands between, so that parameters have the reference's names: base_model.model.…"""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model


class PeftModel(nn.Module):
    """A model with adapters. What it does not do itself, its base does."""

    def __init__(self, model: PreTrainedModel, peft_config: LoraConfig, adapter_name: str = "default") -> None:
        super().__init__()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self.base_model = _Holder(model)
        self.peft_config: dict[str, LoraConfig] = {}
        self.active_adapter = adapter_name
        self.add_adapter(adapter_name, peft_config)
        self.set_adapter(adapter_name)

    # ------------------------------------------------------------------ as the base

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The base's forward, adapted."""
        return self.base_model.model(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The base's generate, adapted."""
        return self.base_model.model.generate(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            holder: Any = super().__getattr__("base_model")
            return getattr(holder.model, name)

    def get_base_model(self) -> PreTrainedModel:
        """The model inside."""
        return self.base_model.model

    # ------------------------------------------------------------------ adapters

    def add_adapter(self, adapter_name: str, peft_config: LoraConfig) -> None:
        """A new adapter under this name. Raises AdapterError where no layer fits its target_modules."""
        if adapter_name in self.peft_config:
            raise AdapterError(f"There is already an adapter '{adapter_name}'.")
        model = self.get_base_model()
        config = copy.deepcopy(peft_config)
        targets = config.target_modules or DEFAULT_TARGETS.get(model.config.model_type)
        if targets is None:
            raise AdapterError(f"Say which layers to adapt: there is no default for {model.config.model_type}.")
        chosen = _choose(model, targets)
        if not chosen:
            raise AdapterError(f"No layer of {type(model).__name__} fits target_modules {targets!r}.")
        config.target_modules = (
            targets if isinstance(targets, str) and targets != "all-linear" else sorted({_leaf(n) for n in chosen})
        )
        if targets != "all-linear" and not isinstance(targets, str):
            config.target_modules = sorted(targets)
        config.base_model_name_or_path = config.base_model_name_or_path or model.name_or_path
        for name in chosen:
            layer = model.get_submodule(name)
            if not isinstance(layer, LoraLayer):
                layer = LoraLayer(layer)
                _put(model, name, layer)
            config.fan_in_fan_out = isinstance(layer.base_layer, ADAPTABLE[1])
            layer.add(adapter_name, config)
        for name in _choose_whole(model, config.modules_to_save or []):
            layer = model.get_submodule(name)
            if not isinstance(layer, SavedModule):
                layer = SavedModule(layer)
                _put(model, name, layer)
            layer.modules_to_save[adapter_name] = copy.deepcopy(layer.original_module).requires_grad_(True)
        self.peft_config[adapter_name] = config

    def set_adapter(self, adapter_name: str) -> None:
        """Use, and train, this adapter."""
        self._check(adapter_name)
        self.active_adapter = adapter_name
        self._activate([adapter_name])
        inference = self.peft_config[adapter_name].inference_mode
        for name, parameter in self.named_parameters():
            if ".lora_A." in name or ".lora_B." in name or ".modules_to_save." in name:
                parameter.requires_grad_(not inference and f".{adapter_name}." in name)

    def delete_adapter(self, adapter_name: str) -> None:
        """Forget this adapter."""
        self._check(adapter_name)
        for layer in self._layers():
            stores = (
                (layer.lora_A, layer.lora_B, layer.lora_dropout) if isinstance(layer, LoraLayer) else (layer.modules_to_save,)
            )
            for store in stores:
                if adapter_name in store:
                    del store[adapter_name]
            layer.active = [name for name in layer.active if name != adapter_name]
        del self.peft_config[adapter_name]

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """The base alone, inside a `with`."""
        before = [(layer, layer.active) for layer in self._layers()]
        merged = any(isinstance(layer, LoraLayer) and layer.merged for layer in self._layers())
        if merged:
            self.unmerge_adapter()
        self._activate([])
        try:
            yield
        finally:
            for layer, active in before:
                layer.active = active
            if merged:
                self.merge_adapter()

    def merge_adapter(self) -> None:
        """Add the active adapter into the base's weights: the same outputs, no extra cost."""
        for layer in self._layers():
            if isinstance(layer, LoraLayer):
                layer.merge()

    def unmerge_adapter(self) -> None:
        """Take it out again."""
        for layer in self._layers():
            if isinstance(layer, LoraLayer):
                layer.unmerge()

    def merge_and_unload(self) -> PreTrainedModel:
        """The base with the adapter in its weights, as a plain model."""
        self.merge_adapter()
        return self.unload()

    def unload(self) -> PreTrainedModel:
        """The base without adapters."""
        model = self.get_base_model()
        for name, layer in list(model.named_modules()):
            if isinstance(layer, LoraLayer):
                _put(model, name, layer.base_layer)
            elif isinstance(layer, SavedModule):
                kept = layer.modules_to_save[self.active_adapter] if self.active_adapter in layer.modules_to_save else None
                _put(model, name, kept or layer.original_module)
        return model

    def _layers(self) -> list[LoraLayer | SavedModule]:
        return [layer for layer in self.modules() if isinstance(layer, LoraLayer | SavedModule)]

    def _activate(self, names: list[str]) -> None:
        for layer in self._layers():
            layer.active = list(names)

    def _check(self, name: str) -> None:
        if name not in self.peft_config:
            raise AdapterError(f"There is no adapter '{name}'; there are: {', '.join(self.peft_config) or 'none'}.")

    # ------------------------------------------------------------------ counts

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """Trained numbers, all numbers."""
        counts = [(p.numel(), p.requires_grad) for p in self.parameters()]
        return sum(n for n, trained in counts if trained), sum(n for n, _ in counts)

    def print_trainable_parameters(self) -> None:
        """One line: how many numbers are trained."""
        trained, total = self.get_nb_trainable_parameters()
        print(f"trainable params: {trained:,d} || all params: {total:,d} || trainable%: {100 * trained / total:.4f}")

    # ------------------------------------------------------------------ files

    def adapter_state(self, adapter_name: str = "default") -> dict[str, torch.Tensor]:
        """The adapter's tensors under the names its file has."""
        found = {}
        for name, tensor in self.state_dict().items():
            if f".lora_A.{adapter_name}." in name or f".lora_B.{adapter_name}." in name:
                found[name.replace(f".{adapter_name}.", ".")] = tensor
            elif f".modules_to_save.{adapter_name}." in name:
                found[name.replace(f".modules_to_save.{adapter_name}.", ".")] = tensor
        return found

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write adapter_config.json and adapter_model.safetensors; other adapters than the default into folders of their names."""
        for name, config in self.peft_config.items():
            folder = Path(save_directory) if name == "default" else Path(save_directory) / name
            folder.mkdir(parents=True, exist_ok=True)
            tensors = {key: tensor.detach().contiguous() for key, tensor in self.adapter_state(name).items()}
            save(tensors, folder, metadata={"format": "pt"}, stem="adapter_model")
            config.save_pretrained(folder)

    @classmethod
    def from_pretrained(
        cls,
        model: PreTrainedModel,
        model_id: str | Path,
        adapter_name: str = "default",
        is_trainable: bool = False,
        config: LoraConfig | None = None,
        **kwargs: Any,
    ) -> Self:
        """The base with an adapter's folder. Raises AdapterError where they do not fit, naming the difference."""
        config = config or LoraConfig.from_pretrained(model_id)
        config.inference_mode = not is_trainable
        adapted = cls(model, config, adapter_name)
        adapted._read(Path(model_id), adapter_name)
        adapted.train(is_trainable)
        return adapted

    def load_adapter(self, model_id: str | Path, adapter_name: str, is_trainable: bool = False, **kwargs: Any) -> None:
        """One more adapter from its folder."""
        config = LoraConfig.from_pretrained(model_id)
        config.inference_mode = not is_trainable
        self.add_adapter(adapter_name, config)
        try:
            self._read(Path(model_id), adapter_name)
        except AdapterError:
            self.delete_adapter(adapter_name)
            raise
        self.set_adapter(self.active_adapter)

    def _read(self, folder: Path, adapter_name: str) -> None:
        file = next((folder / n for n in ("adapter_model.safetensors", "adapter_model.bin") if (folder / n).is_file()), None)
        if file is None:
            raise AdapterError(f"{folder} has no adapter_model.safetensors.")
        own = self.state_dict()
        places = {
            re.sub(rf"\.(lora_[AB])\.{re.escape(adapter_name)}\.", r".\1.", name).replace(
                f".modules_to_save.{adapter_name}.", "."
            ): name
            for name in own
            if f".{adapter_name}." in name
        }
        with open_checkpoint(file) as checkpoint, torch.no_grad():
            names = checkpoint.names()
            strange = [name for name in names if name not in places]
            missing = [name for name in places if name not in names]
            if strange or missing:
                what = f"it has '{strange[0]}', the model has not" if strange else f"it lacks '{missing[0]}'"
                raise AdapterError(f"{file} does not fit {type(self.get_base_model()).__name__}: {what}.")
            for name in names:
                target = own[places[name]]
                tensor = checkpoint.load(name)
                if tensor.shape != target.shape:
                    raise AdapterError(
                        f"{file} does not fit the model: '{name}' is {tuple(tensor.shape)}, the model asks for {tuple(target.shape)}."
                    )
                target.copy_(tensor)


PeftModelForCausalLM = PeftModel


def get_peft_model(model: PreTrainedModel, peft_config: LoraConfig, adapter_name: str = "default") -> PeftModel:
    """Freeze the model and put a new adapter beside its layers."""
    return PeftModel(model, peft_config, adapter_name)


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _choose(model: PreTrainedModel, targets: list[str] | str) -> list[str]:
    """Names of the layers to adapt: a name or its end, a regular expression for the whole name, or all but the output layer."""
    output = model.get_output_embeddings()
    found = []
    for name, layer in model.named_modules():
        base = layer.base_layer if isinstance(layer, LoraLayer) else layer
        if not isinstance(base, ADAPTABLE) or ".base_layer" in name or ".lora_" in name:
            continue
        if targets == "all-linear":
            fits = base is not output and not model.in_head(name)
        elif isinstance(targets, str):
            fits = re.fullmatch(targets, name) is not None
        else:
            fits = any(name == target or name.endswith(f".{target}") for target in targets)
        if fits:
            found.append(name)
    return found


def _choose_whole(model: PreTrainedModel, names: list[str]) -> list[str]:
    found = [name for name, _ in model.named_modules() if any(name == n or name.endswith(f".{n}") for n in names)]
    return [name for name in found if ".modules_to_save" not in name and ".original_module" not in name]


def _put(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, layer)
