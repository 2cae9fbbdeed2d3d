"""PeftModel: a frozen base with named adapters; their files are those of the reference library, both ways."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from core import kernels
from core.errors import AdapterError
from core.modeling.model import PreTrainedModel, put_module
from core.modeling.quantized import Quantized
from core.peft import saving
from core.peft.combine import combine
from core.peft.config import PeftConfig
from core.peft.layers import BASE, Adapted, AdapterLayer, Route, SavedModule
from core.peft.prompting import Prompted
from core.peft.targets import inside_adapter


class _Holder(nn.Module):
    """Stands between, so that parameters have the reference's names: base_model.model.…"""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model


class PeftModel(Prompted, nn.Module):
    """A model with adapters of one method. What it does not do itself, its base does. `heads` are layers that a task trains whole."""

    heads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: PreTrainedModel, peft_config: PeftConfig, adapter_name: str = "default") -> None:
        super().__init__()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self.base_model = model if peft_config.is_prompt_learning else _Holder(model)
        self.peft_config: dict[str, PeftConfig] = {}
        self.prompt_encoder = nn.ModuleDict()
        self.active_adapter = adapter_name
        self.active_adapters: list[str] = []
        self.enabled = True
        self._route = Route()
        self._adapted: list[Adapted] = []
        self.add_adapter(adapter_name, peft_config)
        self.set_adapter(adapter_name)

    # ------------------------------------------------------------------ as the base

    def forward(self, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any) -> Any:
        """The base's forward, adapted; `adapter_names` gives each row of the batch its own adapter, `__base__` for none."""
        if adapter_names is not None:
            with self.adapter_rows(adapter_names):
                return self.get_base_model()(*args, **kwargs)
        if self.prompting:
            return self.forward_prompted(*args, **kwargs)
        return self.get_base_model()(*args, **kwargs)

    def generate(self, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any) -> Any:
        """The base's generate, adapted."""
        if adapter_names is not None:
            with self.adapter_rows(adapter_names):
                return self.get_base_model().generate(*args, **kwargs)
        if self.prompting:
            return self.generate_prompted(*args, **kwargs)
        return self.get_base_model().generate(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            inner: Any = super().__getattr__("base_model")
            return getattr(inner.model if isinstance(inner, _Holder) else inner, name)

    def get_base_model(self) -> PreTrainedModel:
        """The model inside."""
        return self.base_model.model if isinstance(self.base_model, _Holder) else self.base_model

    # ------------------------------------------------------------------ which adapter

    @property
    def active_peft_config(self) -> PeftConfig:
        """Of the adapter in use."""
        return self.peft_config[self.active_adapter]

    def set_adapter(self, adapter_name: str | list[str]) -> None:
        """Use, and train, this adapter, or these one after the other."""
        names = [adapter_name] if isinstance(adapter_name, str) else list(adapter_name)
        for name in names:
            self._check(name)
        if not names or (len(names) > 1 and self.peft_config[names[0]].is_prompt_learning):
            raise AdapterError("Name one adapter at least, and of prompts only one.")
        self.unmerge_adapter()
        self.active_adapter, self.active_adapters = names[0], names
        self._activate(names)
        trained = [name for name in names if not self.peft_config[name].inference_mode]
        for owner, parameter in self._owned():
            parameter.requires_grad_(owner in trained)
        for name in self.peft_config:
            for _, parameter in saving.biases(self, self.peft_config[name]):
                parameter.requires_grad_(name in trained)

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """The base alone, inside a `with`."""
        merged = [layer for layer in self._adapted if isinstance(layer, AdapterLayer) and layer.merged]
        before, enabled = [(layer, layer.active) for layer in self._adapted], self.enabled
        if merged:
            self.unmerge_adapter()
        self._activate([])
        self.enabled = False
        try:
            yield
        finally:
            self.enabled = enabled
            for layer, active in before:
                layer.active = active
            if merged:
                self.merge_adapter()

    @contextmanager
    def adapter_rows(self, adapter_names: list[str]) -> Iterator[None]:
        """Inside a `with`, row i of each batch uses the adapter adapter_names[i], or none where that is `__base__`."""
        if self.active_peft_config.is_prompt_learning:
            raise AdapterError("adapter_names is for adapters beside layers; a prompt is the same for all rows.")
        if self.training:
            raise AdapterError("adapter_names is for inference: call eval() first.")
        for name in dict.fromkeys(adapter_names):
            if name != BASE:
                self._check(name)
        if any(isinstance(layer, AdapterLayer) and layer.merged for layer in self._adapted):
            raise AdapterError("adapter_names needs adapters apart from the weights: call unmerge_adapter() first.")
        before = self._route.names
        self._route.set(list(adapter_names))
        try:
            with kernels.off():  # a compiled step gives all rows the same adapters
                yield
        finally:
            self._route.set(before)

    def _activate(self, names: list[str]) -> None:
        for layer in self._adapted:
            layer.active = [name for name in names if layer.has(name)]

    def _check(self, name: str) -> None:
        if name not in self.peft_config:
            raise AdapterError(f"There is no adapter '{name}'; there are: {', '.join(self.peft_config) or 'none'}.")

    def _owned(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name in self.peft_config:
            for layer in self._adapted:
                yield from ((name, parameter) for parameter in layer.parameters_of(name))
            if name in self.prompt_encoder:
                yield from ((name, parameter) for parameter in self.prompt_encoder[name].parameters())

    # ------------------------------------------------------------------ more and fewer

    def add_adapter(self, adapter_name: str, peft_config: PeftConfig) -> None:
        """A new adapter under this name. Raises AdapterError where no layer fits its target_modules."""
        if adapter_name in self.peft_config or adapter_name == BASE or "." in adapter_name or not adapter_name:
            raise AdapterError(
                f"'{adapter_name}' cannot be a new adapter's name: it is taken, reserved, empty or has a dot in it."
            )
        if (other := next(iter(self.peft_config.values()), None)) and other.peft_type != peft_config.peft_type:
            raise AdapterError(
                f"The adapters of one model are of one method: these are {other.peft_type}, not {peft_config.peft_type}."
            )
        model, config = self.get_base_model(), copy.deepcopy(peft_config)
        if self.heads:
            config.modules_to_save = [*dict.fromkeys([*(config.modules_to_save or []), *self.heads])]
        config.base_model_name_or_path = config.base_model_name_or_path or model.name_or_path
        if config.task_type is None and config.auto_mapping is None:
            config.auto_mapping = {"base_model_class": type(model).__name__, "parent_library": "transformers"}
        if config.is_prompt_learning:
            self.prompt_encoder[adapter_name] = config.make_encoder(model)  # type: ignore[attr-defined]
        else:
            for name in config.choose(model):  # type: ignore[attr-defined]
                self._place(name, adapter_name, config, config.make_layer)  # type: ignore[attr-defined]
        ends = tuple(config.modules_to_save or ())  # the ends of names, of parts of them too, as the reference has it
        wholes = [name for name, _ in model.named_modules() if ends and name.endswith(ends) and not inside_adapter(name)]
        for name in wholes:
            self._place(name, adapter_name, config, SavedModule)
        self.peft_config[adapter_name] = config
        for owner, parameter in self._owned():
            if owner == adapter_name:
                parameter.requires_grad_(False)  # until it is set

    def _place(self, name: str, adapter_name: str, config: PeftConfig, make: Any) -> None:
        layer = self.get_base_model().get_submodule(name)
        if not isinstance(layer, Adapted):
            layer = make(layer, self._route)
            layer.train(self.training)
            put_module(self.get_base_model(), name, layer)
            self._adapted.append(layer)
        layer.add(adapter_name, config, name)

    def delete_adapter(self, adapter_name: str) -> None:
        """Forget this adapter; where it was in use, another one is."""
        self._check(adapter_name)
        if adapter_name in self.active_adapters:
            self.unmerge_adapter()
        for layer in self._adapted:
            layer.delete(adapter_name)
        if adapter_name in self.prompt_encoder:
            del self.prompt_encoder[adapter_name]
        del self.peft_config[adapter_name]
        left = [name for name in self.active_adapters if name != adapter_name] or list(self.peft_config)[:1]
        if left and adapter_name in self.active_adapters:
            self.set_adapter(left)

    def add_weighted_adapter(
        self, adapters: list[str], weights: list[float], adapter_name: str, combination_type: str = "svd", **options: Any
    ) -> None:
        """A new low-rank adapter made of others: core.peft.combine.combine says how."""
        for name in adapters:
            self._check(name)
        combine(self, adapters, weights, adapter_name, combination_type, **options)

    # ------------------------------------------------------------------ into the weights

    def merge_adapter(self, adapter_names: list[str] | None = None) -> None:
        """Put the adapters in use, or these, into the base's weights: the same outputs at no extra cost."""
        for name in adapter_names or []:
            self._check(name)
        if not all(layer.mergeable for layer in self._adapted if isinstance(layer, AdapterLayer)):
            raise AdapterError(
                f"Adapters of the method {self.active_peft_config.peft_type} cannot be merged: they are not linear."
            )
        if self.active_peft_config.is_prompt_learning:
            raise AdapterError("A prompt cannot be merged: it is read, not added to weights.")
        self._untie()
        for layer in self._adapted:
            for name in self.active_adapters if adapter_names is None else adapter_names:
                if isinstance(layer, AdapterLayer) and layer.has(name) and name not in layer.merged:
                    layer.merge(name)
                    layer.merged.append(name)

    def _untie(self) -> None:
        """A table that gives the logits too must not carry there what an adapter adds to it as a table, or the other way round."""
        model = self.get_base_model()
        layers = [model.get_input_embeddings() if model.embeddings_name else None, model.get_output_embeddings()]
        table, output = (getattr(layer, "base_layer", layer) for layer in layers)
        if any(isinstance(layer, AdapterLayer) for layer in layers) and getattr(output, "weight", None) is table.weight:
            table.weight = nn.Parameter(table.weight.clone(), False)
            model.config.tie_word_embeddings = False

    def unmerge_adapter(self) -> None:
        """Take them out again."""
        for layer in self._adapted:
            while isinstance(layer, AdapterLayer) and layer.merged:
                layer.unmerge(layer.merged[-1])
                layer.merged.pop()

    def merge_and_unload(self, adapter_names: list[str] | None = None) -> PreTrainedModel:
        """The base with the adapter in its weights, as a plain model."""
        self.merge_adapter(adapter_names)
        return self._take_off()

    def unload(self) -> PreTrainedModel:
        """The base without adapters."""
        self.unmerge_adapter()
        return self._take_off()

    def _take_off(self) -> PreTrainedModel:
        model = self.get_base_model()
        for name, layer in list(model.named_modules()):
            if isinstance(layer, Adapted):
                put_module(model, name, layer.unwrapped())
        self._adapted = []
        return model

    # ------------------------------------------------------------------ counts and files

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """Trained numbers, all numbers; those of quantised layers count as many as they stand for."""
        counts = [(p.numel(), p.requires_grad) for p in self.parameters()]
        blocks = {module.blocks.data_ptr(): module.count for module in self.modules() if isinstance(module, Quantized)}
        return sum(n for n, trained in counts if trained), sum(n for n, _ in counts) + sum(blocks.values())

    def print_trainable_parameters(self) -> None:
        """One line: how many numbers are trained."""
        trained, total = self.get_nb_trainable_parameters()
        print(f"trainable params: {trained:,d} || all params: {total:,d} || trainable%: {100 * trained / total:.4f}")

    def save_pretrained(self, save_directory: str | Path, selected_adapters: list[str] | None = None, **kwargs: Any) -> None:
        """Write adapter_config.json and adapter_model.safetensors; other adapters than the default into folders of their names."""
        for name in selected_adapters or list(self.peft_config):
            self._check(name)
            saving.write(self, name, Path(save_directory) if name == "default" else Path(save_directory) / name)

    @classmethod
    def from_pretrained(
        cls,
        model: PreTrainedModel,
        model_id: str | Path,
        adapter_name: str = "default",
        is_trainable: bool = False,
        config: PeftConfig | None = None,
        **kwargs: Any,
    ) -> Self:
        """The base with an adapter's folder. Raises AdapterError where they do not fit, naming the difference."""
        from core.peft.tasks import class_for

        config = config or PeftConfig.from_pretrained(model_id)
        config.inference_mode = not is_trainable
        kind: type[Any] = class_for(config.task_type) if cls is PeftModel else cls
        adapted = kind(model, config, adapter_name)
        adapted._read(Path(model_id), adapter_name)
        return adapted.train(is_trainable)

    def load_adapter(self, model_id: str | Path, adapter_name: str, is_trainable: bool = False, **kwargs: Any) -> None:
        """One more adapter from its folder."""
        config = PeftConfig.from_pretrained(model_id)
        config.inference_mode = not is_trainable
        self.add_adapter(adapter_name, config)
        try:
            self._read(Path(model_id), adapter_name)
        except AdapterError:
            self.delete_adapter(adapter_name)
            raise

    def _read(self, folder: Path, adapter_name: str) -> None:
        saving.read(self, folder, adapter_name)


def get_peft_model(model: PreTrainedModel, peft_config: PeftConfig, adapter_name: str = "default") -> PeftModel:
    """Freeze the model and put a new adapter beside its layers, or a prompt before its input; the class is that of the task."""
    from core.peft.tasks import class_for

    return class_for(peft_config.task_type)(model, peft_config, adapter_name)
