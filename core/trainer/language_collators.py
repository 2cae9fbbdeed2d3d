"""Batches whose labels follow from the text itself."""

from typing import Any

import torch

from core.errors import DataError
from core.trainer.collators import DataCollatorWithPadding, plain_row


class DataCollatorForLanguageModeling(DataCollatorWithPadding):
    """Labels for predicting the next token (`mlm=False`: every token but padding) or masked ones.

    Of the tokens that are not special a share of `mlm_probability` is to be guessed: of these `mask_replace_prob` become the mask
    token, `random_replace_prob` a random one, the rest stay. Devlin et al. 2019, 3.1. `seed` makes the choice follow from itself.
    Raises DataError for a tokenizer without a mask token.
    """

    def __init__(
        self,
        tokenizer: Any,
        mlm: bool = True,
        mlm_probability: float = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        pad_to_multiple_of: int | None = None,
        seed: int | None = None,
        return_tensors: str = "pt",
    ) -> None:
        super().__init__(tokenizer, pad_to_multiple_of=pad_to_multiple_of)
        if mlm and getattr(tokenizer, "mask_token_id", None) is None:
            raise DataError("This tokenizer has no mask token: choose mlm=False, to predict the next token.")
        self.mlm, self.mlm_probability = mlm, mlm_probability
        self.mask_replace_prob, self.random_replace_prob = mask_replace_prob, random_replace_prob
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __call__(self, features: list[Any], return_tensors: str | None = None) -> dict[str, torch.Tensor]:
        """input_ids and labels (batch, tokens)."""
        rows = [plain_row(row if hasattr(row, "keys") else {"input_ids": row}) for row in features]
        for row in rows:
            row.pop("labels", None)
        batch = super().__call__(rows)
        special = batch.pop("special_tokens_mask", None)
        if self.mlm:
            batch["input_ids"], batch["labels"] = self.torch_mask_tokens(batch["input_ids"], special)
        else:
            pad = getattr(self.tokenizer, "pad_token_id", None)
            labels = batch["input_ids"].clone()
            batch["labels"] = labels if pad is None else labels.masked_fill(labels == pad, -100)
        return batch

    def torch_mask_tokens(
        self, inputs: torch.Tensor, special_tokens_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """ids (batch, tokens) -> ids with masks in them, and labels, -100 where nothing is to be guessed."""
        labels, tokenizer = inputs.clone(), self.tokenizer
        if special_tokens_mask is None:
            special_tokens_mask = torch.isin(inputs, torch.tensor(list(tokenizer.all_special_ids)))
        chance = torch.full(labels.shape, self.mlm_probability).masked_fill(special_tokens_mask.bool(), 0.0)
        guessed = torch.bernoulli(chance, generator=self.generator).bool()
        labels[~guessed] = -100
        inputs = inputs.clone()
        masked = torch.bernoulli(torch.full(labels.shape, self.mask_replace_prob), generator=self.generator).bool() & guessed
        inputs[masked] = tokenizer.mask_token_id
        if self.mask_replace_prob < 1 and self.random_replace_prob:
            share = self.random_replace_prob / (1 - self.mask_replace_prob)
            other = torch.bernoulli(torch.full(labels.shape, share), generator=self.generator).bool() & guessed & ~masked
            words = torch.randint(len(tokenizer), labels.shape, dtype=inputs.dtype, generator=self.generator)
            inputs[other] = words[other]
        return inputs, labels


class DataCollatorForCompletionOnlyLM(DataCollatorForLanguageModeling):
    """Only what follows the response template is learned; with an instruction template, only up to the next instruction.

    The templates are texts or token ids. A row without the response template is not learned from.
    """

    def __init__(
        self,
        response_template: str | list[int],
        instruction_template: str | list[int] | None = None,
        tokenizer: Any = None,
        mlm: bool = False,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        super().__init__(tokenizer, mlm=mlm, pad_to_multiple_of=pad_to_multiple_of)
        self.response, self.instruction = self._ids(response_template), self._ids(instruction_template)

    def _ids(self, template: str | list[int] | None) -> list[int]:
        if isinstance(template, str):
            return list(self.tokenizer(template, add_special_tokens=False)["input_ids"])
        return list(template or [])

    def __call__(self, features: list[Any], return_tensors: str | None = None) -> dict[str, torch.Tensor]:
        """Labels outside the answers are -100."""
        batch = super().__call__(features)
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"], strict=True):
            learned = torch.zeros(len(ids), dtype=torch.bool)
            answers, questions = places(ids, self.response), places(ids, self.instruction)
            for begin in answers if self.instruction else answers[:1]:
                begin += len(self.response)
                end = min((place for place in questions if place >= begin), default=len(ids))
                learned[begin:end] = True
            labels[~learned] = -100
        return batch


def places(ids: list[int], pattern: list[int]) -> list[int]:
    """Where a sequence stands in another."""
    if not pattern:
        return []
    return [i for i in range(len(ids) - len(pattern) + 1) if ids[i : i + len(pattern)] == pattern]
