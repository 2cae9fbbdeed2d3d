"""What pipelines share: inputs become pieces, pieces of like length are computed together, and their outputs become results.

A pipeline says three things: `prepare`, an input -> its pieces (one, or a window each where it is long); `forward`, a batch of pieces ->
an output for each; `finish`, the outputs of an input's pieces -> its result, which is plain data.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from core.auto import ARCHITECTURES
from core.errors import ConfigError, DataError
from core.pipelines.options import Option
from core.pipelines.pieces import Piece, Progress, Result, Stopped, is_stream

logger = logging.getLogger(__name__)
READ = {"pixel_values": "images", "input_values": "sound", "input_features": "sound"}  # by the name of a model's main input
WINDOW = 16  # batches' worth of inputs that are prepared and sorted at a time


class Pipeline:
    """A model with what prepares its inputs, for one task. Called with one input, a list of them (a list of results), or a generator or
    data set (a generator of results)."""

    task: ClassVar[str] = ""
    kinds: ClassVar[tuple[str, ...]] = ("Model",)  # heads of core.auto's table that do this task
    parts: ClassVar[tuple[str, ...]] = ("tokenizer",)
    options: ClassVar[tuple[Option, ...]] = ()
    batch_size: int = 8
    cancelled: Callable[[], bool] | None = None  # asked before each batch, where a call brings no question of its own
    unit: ClassVar[str] = "tokens"  # of what is cut
    generates: ClassVar[bool] = False  # whether GenerationConfig's parameters are options too

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        feature_extractor: Any = None,
        image_processor: Any = None,
        *,
        batch_size: int | None = None,
        task: str = "",
        **given: Any,
    ) -> None:
        """given: options that hold where a call does not say otherwise. Raises ConfigError where the model does not fit the task."""
        self.model, self.tokenizer = model, tokenizer
        self.feature_extractor, self.image_processor = feature_extractor, image_processor
        self.asked = task or self.task
        self._check_model()
        for part in self.parts:
            if getattr(self, part) is None:
                raise ConfigError(f"{self.asked} needs a {part.replace('_', ' ')}: pipeline({self.asked!r}, model, {part}=…).")
        if batch_size is not None:
            self.batch_size = batch_size
        self.given = given
        self.settings({})

    def _check_model(self) -> None:
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        architecture = ARCHITECTURES.get(getattr(getattr(model, "config", None), "model_type", ""))
        if architecture is None:  # an architecture of the caller's own
            return
        if self.parts == ("tokenizer",) and (reads := READ.get(getattr(model, "main_input_name", ""))):
            raise ConfigError(
                f"A {type(model).__name__} reads {reads}, not texts, and cannot do {self.asked}: use another model."
            )
        fitting = [architecture.class_name(kind) for kind in self.kinds if kind == "Model" or kind in architecture.heads]
        if not any(base.__name__ in fitting for base in type(model).__mro__):
            wanted = f"load it as {' or '.join(fitting)}" if fitting else "its architecture has no head for it"
            raise ConfigError(f"A {type(model).__name__} cannot do {self.asked}: {wanted}, or use another model.")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    # ------------------------------------------------------------------ options

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """All options with their values: the call's, else the pipeline's, else the defaults. Raises ConfigError."""
        given = {**self.given, **given}
        known = {option.name: option for option in self.options}
        if not self.generates and (unknown := [name for name in given if name not in known]):
            raise ConfigError(f"{self.asked} has no option {', '.join(unknown)}; options: {', '.join(known) or 'none'}.")
        values = {name: option.checked(given.pop(name, option.default)) for name, option in known.items()}
        return {**values, **given}

    # ------------------------------------------------------------------ what a task says

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """The pieces of an input."""
        raise NotImplementedError

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """An output for each row of a batch: here, the row's logits in float32, on the CPU."""
        return list(self.run_model(inputs).logits.float().cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> Any:
        """The result of an input."""
        raise NotImplementedError

    def is_many(self, inputs: Any, options: dict[str, Any]) -> bool:
        """Whether these are several inputs."""
        return isinstance(inputs, list | tuple) or is_stream(inputs)

    # ------------------------------------------------------------------ the way from inputs to results

    def __call__(self, inputs: Any, *, batch_size: int | None = None, num_workers: int = 0, **given: Any) -> Any:
        """A result, a list of results, or a generator of them, as the inputs are. num_workers is accepted and changes nothing."""
        if not self.is_many(inputs, self.settings(given)):
            return next(self._values([inputs], batch_size, given))
        values = self._values(inputs, batch_size, given)
        return values if is_stream(inputs) else list(values)

    def _values(self, inputs: Any, batch_size: int | None, given: dict[str, Any]) -> Iterator[Any]:
        for event in self.run(inputs, batch_size=batch_size, **given):
            if isinstance(event, Result):
                yield event.value

    def run(
        self,
        inputs: Iterable[Any],
        *,
        batch_size: int | None = None,
        cancelled: Callable[[], bool] | None = None,
        **given: Any,
    ) -> Iterator[Progress | Result]:
        """The results of several inputs in their order, and after each batch how far it is.

        `cancelled` is asked before each batch (and at each step of a generation); then nothing more comes. Not going on reading stops
        it as well.
        """
        cancelled = cancelled or self.cancelled
        options = self.settings(given) | {"cancelled": cancelled}
        size = self.batch_size if batch_size is None else batch_size
        if not isinstance(size, int) or size < 1:
            raise ConfigError(f"batch_size must be a whole number of at least 1, not {size!r}.")
        count = len(inputs) if hasattr(inputs, "__len__") else None  # type: ignore[arg-type]
        rows = enumerate(inputs if hasattr(inputs, "__iter__") else (inputs[i] for i in range(count or 0)))  # type: ignore[index]
        done = seen = 0
        while window := list(itertools.islice(rows, size * WINDOW)):
            works = [self.prepare(item, options) for _, item in window]
            outputs: list[list[Any]] = [[None] * len(work) for work in works]
            seen += len(window)
            total = done + sum(map(len, works)) if seen == count else None
            for batch in self._batches(works, size):
                if cancelled is not None and cancelled():
                    return
                try:
                    found = self._compute([works[i][j] for i, j in batch], options)
                except Stopped:
                    return
                for (i, j), output in zip(batch, found, strict=True):
                    outputs[i][j] = output
                done += len(batch)
                yield Progress(done, total)
            if cancelled is not None and cancelled():
                return
            for (index, _), work, found in zip(window, works, outputs, strict=True):
                if cut := sum(piece.cut for piece in work):
                    logger.warning("%s: input %d is too long for the model: %d %s were cut.", self.asked, index, cut, self.unit)
                yield Result(index, self.finish(work, found, options), cut)

    def _batches(self, works: list[list[Piece]], size: int) -> Iterator[list[tuple[int, int]]]:
        """(input, piece) by length, the longest first, so that a batch holds little padding, and none where there may be none."""
        order = sorted(
            ((i, j) for i, work in enumerate(works) for j in range(len(work))), key=lambda at: -works[at[0]][at[1]].length
        )
        for _, group in itertools.groupby(order, key=lambda at: None if self.may_pad else works[at[0]][at[1]].length):
            group = list(group)
            yield from (group[k : k + size] for k in range(0, len(group), size))

    def _compute(self, batch: list[Piece], options: dict[str, Any]) -> list[Any]:
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                inputs = {name: value.to(self.device) for name, value in self.collate(batch).items()}
                return self.forward(inputs, options)
        finally:
            if training:
                self.model.train()

    @property
    def may_pad(self) -> bool:
        """Whether rows of different lengths may be computed together."""
        if self.tokenizer is None:
            return True
        return self.tokenizer.pad_token_id is not None and self.model.config.pad_token_id is not None

    def collate(self, batch: list[Piece]) -> dict[str, torch.Tensor]:
        """Rows -> (batch, longest, …), filled at the end; the mask tells."""
        names = list(batch[0].inputs)
        lengths = [len(piece.inputs[names[0]]) for piece in batch]
        if len(set(lengths)) > 1 and "attention_mask" not in names:
            for piece, length in zip(batch, lengths, strict=True):
                piece.inputs["attention_mask"] = torch.ones(length, dtype=torch.long)
            names.append("attention_mask")
        rows = {name: [piece.inputs[name] for piece in batch] for name in names}
        return {
            name: torch.stack([self._filled(name, row, max(map(len, column))) for row in column]) for name, column in rows.items()
        }

    def _filled(self, name: str, row: torch.Tensor, longest: int) -> torch.Tensor:
        fill = self.tokenizer.pad_token_id if name == "input_ids" and self.tokenizer is not None else 0
        return row if len(row) == longest else F.pad(row, (0, 0) * (row.dim() - 1) + (0, longest - len(row)), value=fill)

    def run_model(self, inputs: dict[str, torch.Tensor]) -> Any:
        """The model's output, of those inputs that it takes; floating point in its own type."""
        names = self.model.forward_names()
        taken = {name: value for name, value in inputs.items() if name in names}
        taken = {name: value.to(self.model.dtype) if value.is_floating_point() else value for name, value in taken.items()}
        return self.model(**taken, **({"use_cache": False} if "use_cache" in names else {}))

    # ------------------------------------------------------------------ texts

    @property
    def most_tokens(self) -> int:
        """How many tokens the model reads of a text, special ones included."""
        config = self.model.config
        places = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        table = next((m for name, m in self.model.named_modules() if name.endswith("embeddings.position_embeddings")), None)
        if places and (padding := getattr(table, "padding_idx", None)) is not None:
            places -= padding + 1  # positions are counted from the padding's on
        return min(self.tokenizer.model_max_length, places or self.tokenizer.model_max_length)

    def encode(self, text: Any, pair: str | None = None, truncation: str | bool = True, **more: Any) -> tuple[Any, int]:
        """A text or a pair as a BatchEncoding of one row of lists, and how many tokens were cut."""
        encoded = self.tokenizer(text, pair, truncation=truncation, max_length=self.most_tokens, **more)
        special = self.tokenizer.num_special_tokens_to_add(pair is not None)
        other = sum(len(part.ids) - special for part in encoded.encodings[0].overflowing)
        if pair is not None and encoded.encodings[0].overflowing:  # each part repeats the text that was not cut
            whole = self.tokenizer(text, pair, truncation=False)["input_ids"]
            other = len(whole) - len(encoded["input_ids"])
        return encoded, other


def text_of(item: Any, task: str) -> str:
    """The item, which must be a text. Raises DataError."""
    if not isinstance(item, str):
        raise DataError(f"{task} takes a text, not {type(item).__name__}.")
    return item


def row_of(encoded: Any, row: int | None = None) -> dict[str, torch.Tensor]:
    """The model's inputs of a BatchEncoding: of its only text, or of one row of several."""
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoded.data]
    return {name: torch.tensor(encoded[name] if row is None else encoded[name][row]) for name in names}
