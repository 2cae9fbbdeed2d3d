"""Texts that answer texts, by an encoder and a decoder."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from core.errors import DataError
from core.pipelines.base import Pipeline, row_of, text_of
from core.pipelines.options import Option
from core.pipelines.pieces import Piece

MOST_NEW = 256  # tokens of an answer, where neither the call nor the model's files say


class Text2TextGenerationPipeline(Pipeline):
    """`writer("translate English to German: Hello")` -> [{"generated_text": …}]; a list of texts gives a dictionary for each. Further
    keywords are GenerationConfig's. A chat model does the task too, where its configuration says what to ask it for the task."""

    task = "text2text-generation"
    kinds = ("ConditionalGeneration",)
    generates = True
    batch_size = 1
    name: ClassVar[str] = "generated"  # what a result's keys begin with
    options = (
        Option("return_tensors", False, "Whether to give token ids instead of texts."),
        Option("return_text", True, "Whether to give texts."),
        Option("clean_up_tokenization_spaces", False, "Whether to take away spaces before punctuation."),
        Option("truncation", True, "Whether a text longer than the model reads is cut, which is told."),
        Option("stop_sequence", None, "A text whose first token ends the answer."),
    )

    def _check_model(self) -> None:
        if not self.prescribed.get("prompt"):
            super()._check_model()

    def __call__(self, inputs: Any, *, batch_size: int | None = None, num_workers: int = 0, **given: Any) -> Any:
        """A text or several."""
        result = super().__call__(inputs, batch_size=batch_size, **given)
        single = isinstance(inputs, list) and all(len(answers) == 1 for answers in result)
        return [answers[0] for answers in result] if single else result

    @property
    def prescribed(self) -> dict[str, Any]:
        """What the model's configuration prescribes for this task: a prefix, lengths, beams."""
        found = getattr(self.model.config, "task_specific_params", None) or {}
        return found.get(self.asked) or {}

    def text(self, item: Any, options: dict[str, Any]) -> str:
        """The text that is encoded, its prefix before it. Raises DataError for an empty one."""
        if not text_of(item, self.asked).strip():
            raise DataError("The text is empty: write something.")
        prefix = self.prescribed.get("prefix", getattr(self.model.config, "prefix", None))
        return (prefix or "") + item

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        text = self.text(item, options)
        if not self.model.config.is_encoder_decoder:
            return [self._asked(text)]
        encoded, cut = self.encode(text, truncation=bool(options["truncation"]))
        row = row_of(encoded)
        row.pop("token_type_ids", None)
        return [Piece(row, cut=cut)]

    def _asked(self, text: str) -> Piece:
        """The text within a chat's first message, cut so that an answer has room."""
        prompt = self.prescribed["prompt"]
        ask = lambda words: self.tokenizer.apply_chat_template(  # noqa: E731
            [{"role": "user", "content": prompt.replace("{text}", words)}], add_generation_prompt=True
        )
        ids = ask(text)
        reach = getattr(self.model.config, "max_position_embeddings", None) or len(ids) + MOST_NEW
        if (cut := len(ids) + MOST_NEW - reach) > 0:
            own = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            ids = ask(self.tokenizer.decode(own[: max(1, len(own) - cut)]))
        return Piece({"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), dtype=torch.long)}, cut=max(0, cut))

    @property
    def may_pad(self) -> bool:
        """The mask says where a text ends; a chat's prompt is read alone."""
        return self.tokenizer.pad_token_id is not None and self.model.config.is_encoder_decoder

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """(answers, tokens) a row."""
        own = {option.name for option in self.options} | {"cancelled"}
        values = {name: value for name, value in options.items() if name not in own}
        told = {name: value for name, value in self.prescribed.items() if name not in ("prefix", "prompt")}
        values = generation_values(self.model, told | values)
        if options["stop_sequence"] is not None:
            values["eos_token_id"] = self.tokenizer(options["stop_sequence"], add_special_tokens=False)["input_ids"][0]
        out = self.model.generate(**inputs, **values, **stop_rule(options["cancelled"]))
        rows, read = inputs["input_ids"].shape
        if not self.model.config.is_encoder_decoder:
            out = out[:, read:]
        return list(out.reshape(rows, len(out) // rows, -1).cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        """A dictionary for each answer."""
        if options["return_tensors"]:
            return [{f"{self.name}_token_ids": ids} for ids in outputs[0]]
        tidy = options["clean_up_tokenization_spaces"]
        texts = (self.tokenizer.decode(ids, True, clean_up_tokenization_spaces=tidy) for ids in outputs[0])
        return [{f"{self.name}_text": text} for text in texts]


def generation_values(model: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a generation: 256 new tokens at most, where nobody says otherwise."""
    said = any(values.get(name) is not None for name in ("max_length", "max_new_tokens"))
    said = said or "generation_config" in values or model.generation_config.max_new_tokens is not None
    return values if said else {**values, "max_new_tokens": MOST_NEW}


def stop_rule(cancelled: Callable[[], bool] | None) -> dict[str, Any]:
    """For `generate`: asks at each step whether to go on."""
    return {} if cancelled is None else {"stopping_criteria": [lambda ids, scores: torch.tensor(cancelled())]}
