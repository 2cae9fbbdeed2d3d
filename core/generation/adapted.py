"""A model whose adapters are put on and taken off between steps."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from core import kernels
from core.errors import AdapterError
from core.modeling.model import PreTrainedModel
from core.peft import PeftConfig, PeftModel
from core.peft.layers import BASE

_UNKNOWN = object()


class Adapted:
    """The model that an engine owns, plain or a PeftModel, and which of its adapters is on. For the engine's thread alone."""

    def __init__(self, model: Any) -> None:
        self._peft = model if isinstance(model, PeftModel) else None
        self.base: PreTrainedModel = model if self._peft is None else self._peft.get_base_model()  # type: ignore[assignment]
        self._off = ExitStack()
        self.settle()

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

    @contextmanager
    def worn_by(self, adapters: Sequence[str | None]) -> Iterator[PreTrainedModel]:
        """The base with an adapter for each row of a batch; where they differ, without compiled steps, which know one for all."""
        worn = [adapter for adapter in dict.fromkeys(adapters) if adapter is not None]
        model = self.wear(worn[0] if worn else None)
        if self._peft is None or len(set(adapters)) == 1:
            yield model
            return
        with kernels.off(), self._peft.adapter_rows([adapter or BASE for adapter in adapters]):
            yield model

    def load(self, folder: str | Path, name: str) -> None:
        """One more adapter from its folder. Raises AdapterError, for tuned prompts too: they are no part of the model's layers."""
        if PeftConfig.from_pretrained(folder).is_prompt_learning:
            raise AdapterError(
                f"{folder} holds a tuned prompt or prefix, which an engine does not serve: use PeftModel.generate."
            )
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
        self._on: Any = _UNKNOWN
        (self._peft or self.base).eval()

    def weights(self) -> set[tuple[int, int]]:
        """Address and version of every weight: one that is written to or replaced is no longer in the set."""
        return {(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.base.parameters()}
