"""A model whose adapters are put on and taken off between steps."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from core.errors import AdapterError
from core.modeling.model import PreTrainedModel

_UNKNOWN = object()


class Adapted:
    """The model that an engine owns, plain or a PeftModel, and which of its adapters is on. For the engine's thread alone."""

    def __init__(self, model: Any) -> None:
        self._peft = model if hasattr(model, "peft_config") else None
        self.base: PreTrainedModel = model if self._peft is None else model.get_base_model()
        self._on: Any = _UNKNOWN
        self._off = ExitStack()
        self.base.eval()

    @property
    def names(self) -> list[str]:
        """The adapters there are."""
        return [] if self._peft is None else list(self._peft.peft_config)

    def wear(self, adapter: str | None) -> PreTrainedModel:
        """The base with this adapter on, or with none."""
        if self._peft is not None and adapter != self._on:
            self._off.close()
            if adapter is None:
                self._off.enter_context(self._peft.disable_adapter())
            else:
                self._peft.set_adapter(adapter)
            self._on = adapter
        return self.base

    def load(self, folder: str | Path, name: str) -> None:
        """One more adapter from its folder. Raises AdapterError."""
        from core.peft import PeftModel

        if self._peft is None:
            self._peft = PeftModel.from_pretrained(self.base, folder, adapter_name=name)
        elif name not in self._peft.peft_config:
            self._peft.load_adapter(folder, name)

    def check(self, adapter: str | None) -> None:
        """Raise AdapterError where there is no such adapter."""
        if adapter is not None and adapter not in self.names:
            raise AdapterError(f"There is no adapter '{adapter}'; there are: {', '.join(self.names) or 'none'}.")

    def settle(self) -> None:
        """After others had the model: nothing is known of its adapters, and it is for inference again."""
        self._off.close()
        self._on = _UNKNOWN
        self.base.eval()

    def weights(self) -> set[tuple[int, int]]:
        """Address and version of every weight: one that is written to or replaced is no longer in the set."""
        return {(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.base.parameters()}
