"""Texts and conversations continued."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from core.errors import GenerationError
from core.generation import Finished, GenerationConfig, TextDelta, stream
from core.pipelines.base import Pipeline

Messages = list[dict[str, Any]]


class TextGenerationPipeline(Pipeline):
    """`generator("text", max_length=50)` -> [{"generated_text": …}]; messages give messages back."""

    task = "text-generation"
    auto_class = "AutoModelForCausalLM"

    def __call__(self, text_inputs: Any, return_full_text: bool = True, batch_size: int = 1, **parameters: Any) -> list[Any]:
        """A text, messages, or a list of either; keywords are GenerationConfig's.

        return_full_text: with the prompt before the answer. Lists give a list for each input.
        """
        many = isinstance(text_inputs, list | tuple) and not _is_messages(text_inputs)
        inputs = list(text_inputs) if many else [text_inputs]
        if not inputs or not all(inputs):
            raise GenerationError("There is no prompt: give a text or messages.")
        results: list[Any] = []
        for begin in range(0, len(inputs), batch_size):
            results += self._batch(inputs[begin : begin + batch_size], return_full_text, parameters)
        return results if many else results[0]

    def _batch(self, prompts: list[Any], full: bool, parameters: dict[str, Any]) -> list[list[dict[str, Any]]]:
        rows = [self._ids(prompt) for prompt in prompts]
        ids, mask = _pad_left(rows, self.model.generation_config.pad_token_id or 0)
        if "max_length" not in parameters and "max_new_tokens" not in parameters:
            parameters = {"max_new_tokens": 256, **parameters}
        count = parameters.get("num_return_sequences", 1)
        out = self.model.generate(ids, attention_mask=mask, tokenizer=self.tokenizer, **parameters)
        found = []
        for i, prompt in enumerate(prompts):
            answers = [
                self.tokenizer.decode(row, skip_special_tokens=True) for row in out[i * count : (i + 1) * count, ids.shape[1] :]
            ]
            found.append([{"generated_text": self._whole(prompt, answer) if full else answer} for answer in answers])
        return found

    def _whole(self, prompt: Any, answer: str) -> Any:
        return [*prompt, {"role": "assistant", "content": answer}] if _is_messages(prompt) else prompt + answer

    def _ids(self, prompt: Any) -> list[int]:
        if _is_messages(prompt):
            return self.tokenizer.apply_chat_template(prompt, add_generation_prompt=True)
        if not isinstance(prompt, str):
            raise GenerationError(f"A prompt is a text or a list of messages, not {type(prompt).__name__}.")
        return self.tokenizer(prompt)["input_ids"]

    def stream(
        self,
        prompt: str | Messages,
        config: GenerationConfig | None = None,
        cancelled: Callable[[], bool] | None = None,
        **parameters: Any,
    ) -> Iterator[TextDelta | Finished]:
        """The answer as it is written; a conversation too long for the model is refused in a sentence."""
        ids = torch.tensor([self._ids(prompt)])
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit and ids.shape[1] >= limit:
            raise GenerationError(
                f"The prompt has {ids.shape[1]} tokens and the model reads at most {limit}: shorten it or clear the chat."
            )
        yield from stream(self.model, ids, None, config, self.tokenizer, cancelled, **parameters)


def _is_messages(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)


def _pad_left(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows -> ids and mask (batch, longest)."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
