"""Texts and conversations continued."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from core.errors import GenerationError
from core.generation import Finished, GenerationConfig, TextDelta, stream
from core.pipelines.base import Piece, Pipeline
from core.pipelines.options import Option
from core.pipelines.text2text_generation import generation_values, stop_rule

Messages = list[dict[str, Any]]


class TextGenerationPipeline(Pipeline):
    """`generator("text", max_length=50)` -> [{"generated_text": …}]; messages give messages back. A last message of the assistant's is
    continued. Further keywords are GenerationConfig's."""

    task = "text-generation"
    kinds = ("CausalLM",)
    generates = True
    batch_size = 1
    options = (
        Option("return_full_text", None, "Whether the prompt stands before the answer; it does, where nothing is said."),
        Option("return_text", None, "The older opposite: True for the answer alone."),
        Option("return_tensors", False, "Whether to give token ids, prompt included, instead of texts."),
        Option(
            "clean_up_tokenization_spaces", None, "Whether to take away spaces before punctuation; None as the tokenizer says."
        ),
        Option("skip_special_tokens", True, "Whether to leave out tokens such as the end of a text."),
        Option("prefix", None, "A text before each prompt; it is no part of the result."),
        Option(
            "handle_long_generation", None, "hole: of a prompt that leaves no room for the answer, the end.", choices=("hole",)
        ),
        Option("continue_final_message", None, "Whether a conversation's last message goes on; None: if it is the assistant's."),
        Option("add_special_tokens", True, "Whether a prompt begins as the tokenizer begins texts."),
        Option("stop_sequence", None, "A text at which to stop."),
        Option("tools", None, "Functions that a chat model may call."),
        Option("documents", None, "Documents that a chat model may read."),
    )

    def is_many(self, inputs: Any, options: dict[str, Any]) -> bool:
        """Messages are one input."""
        return super().is_many(inputs, options) and not _is_messages(inputs)

    def __call__(self, text_inputs: Any, *, batch_size: int | None = None, num_workers: int = 0, **given: Any) -> Any:
        """A text, messages, or several of either."""
        return super().__call__(text_inputs, batch_size=batch_size, **given)

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        ids, cut = self._ids(item, options), 0
        limit, new = self._most(), options.get("max_new_tokens") or 0
        if options["handle_long_generation"] == "hole" and limit and len(ids) + new > limit:
            if (room := limit - new) < 1:
                raise GenerationError(f"max_new_tokens ({new}) leaves no room for a prompt: the model reads {limit} tokens.")
            ids, cut = ids[-room:], len(ids) - room
        self._check_length(len(ids))
        return [Piece({"input_ids": torch.tensor(ids)}, item, cut)]

    def _ids(self, prompt: Any, options: dict[str, Any]) -> list[int]:
        """The prompt's tokens. Raises GenerationError for what is no prompt."""
        if _is_messages(prompt):
            more = {name: options[name] for name in ("tools", "documents") if options.get(name) is not None}
            goes_on = self._goes_on(prompt, options)
            return self.tokenizer.apply_chat_template(
                list(prompt), add_generation_prompt=not goes_on, continue_final_message=goes_on, **more
            )
        if not isinstance(prompt, str):
            raise GenerationError(f"A prompt is a text or a list of messages, not {type(prompt).__name__}.")
        text = (options["prefix"] or "") + prompt
        ids = self.tokenizer(text, add_special_tokens=options["add_special_tokens"])["input_ids"] if text else []
        if not ids:
            raise GenerationError("There is no prompt: give a text or messages.")
        return ids

    @staticmethod
    def _goes_on(messages: Any, options: dict[str, Any]) -> bool:
        said = options["continue_final_message"]
        return messages[-1].get("role") == "assistant" if said is None else said

    def _most(self) -> int | None:
        return getattr(self.model.config, "max_position_embeddings", None)

    def _check_length(self, tokens: int) -> None:
        limit = self._most()
        if limit and tokens >= limit:
            raise GenerationError(
                f"The prompt has {tokens} tokens and the model reads at most {limit}: shorten it or clear the chat."
            )

    @property
    def may_pad(self) -> bool:
        """What stands left of a prompt is masked, whatever it is."""
        return True

    def collate(self, batch: list[Piece]) -> dict[str, torch.Tensor]:
        """Padded on the left: (batch, longest), and where prompts begin."""
        longest, pad = max(piece.length for piece in batch), self.model.generation_config.pad_token_id or 0
        rows = [piece.inputs["input_ids"] for piece in batch]
        ids = torch.stack([torch.cat([row.new_full((longest - len(row),), pad), row]) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """(answers, new tokens) a row."""
        own = {option.name for option in self.options} | {"cancelled"}
        values = generation_values(self.model, {name: value for name, value in options.items() if name not in own})
        if options["stop_sequence"] is not None:
            values["stop_strings"] = options["stop_sequence"]
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        out = self.model.generate(ids, attention_mask=mask, tokenizer=self.tokenizer, **values, **stop_rule(options["cancelled"]))
        out = out if isinstance(out, torch.Tensor) else out.sequences
        return list(out[:, ids.shape[1] :].view(len(ids), len(out) // len(ids), -1).cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        """A dictionary for each answer."""
        prompt, ids = pieces[0].facts, pieces[0].inputs["input_ids"].tolist()
        if options["return_tensors"]:
            return [{"generated_token_ids": ids + row.tolist()} for row in outputs[0]]
        full = options["return_full_text"] if options["return_full_text"] is not None else not options["return_text"]
        tidy, found = options["clean_up_tokenization_spaces"], []
        for row in outputs[0]:
            answer = self.tokenizer.decode(row, options["skip_special_tokens"], clean_up_tokenization_spaces=tidy)
            found.append({"generated_text": self._whole(prompt, answer, options) if full else answer})
        return found

    def _whole(self, prompt: Any, answer: str, options: dict[str, Any]) -> Any:
        if not _is_messages(prompt):
            return prompt + answer
        if self._goes_on(prompt, options):
            return [*prompt[:-1], {**prompt[-1], "content": prompt[-1]["content"] + answer}]
        return [*prompt, {"role": "assistant", "content": answer}]

    def stream(
        self,
        prompt: str | Messages,
        config: GenerationConfig | None = None,
        cancelled: Callable[[], bool] | None = None,
        **parameters: Any,
    ) -> Iterator[TextDelta | Finished]:
        """The answer as it is written; a conversation too long for the model is refused in a sentence."""
        own = {option.name for option in self.options} & set(parameters)
        options = self.settings({name: parameters.pop(name) for name in own})
        ids = torch.tensor([self._ids(prompt, options)])
        self._check_length(ids.shape[1])
        yield from stream(self.model, ids, None, config, self.tokenizer, cancelled, **parameters)


def _is_messages(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)
