"""Models that write: plain text, conversations, masked words."""

from typing import Any

from core.errors import DataError
from core.trainer.data import encode_rows
from core.trainer.reading import place_of
from core.trainer.tasks.base import Rows, Task, text_of


class CausalLM(Task):
    """The next token of plain `text`."""

    auto, peft_type, writes, reads = "AutoModelForCausalLM", "CAUSAL_LM", True, ("text",)

    def encode(self, rows: Rows, training: bool) -> Any:
        """Each text with the token that ends it, cut into pieces of max_length."""
        found = []
        for number, row in enumerate(rows, 1):
            if not isinstance(row["text"], str):
                raise DataError(f"{place_of(row, number)}: its text is a {type(row['text']).__name__}, no text.")
            ids = self.processing(row["text"])["input_ids"]
            if self.processing.eos_token_id is not None:
                ids = [*ids, self.processing.eos_token_id]
            size = self.limit()
            found += [{"input_ids": part, "labels": part} for i in range(0, len(ids), size) if len(part := ids[i : i + size]) > 1]
        return found

    def collator(self) -> Any:
        """Padded."""
        from core.trainer.collators import DataCollatorWithPadding

        return DataCollatorWithPadding(self.processing)


class Instruction(CausalLM):
    """The answers of conversations: messages, sharegpt, instruction and output, prompt and completion, question and answer."""

    reads = ()

    def encode(self, rows: Rows, training: bool) -> Any:
        """Rows whose answer lies beyond max_length are left out."""
        return encode_rows(self.processing, rows, self.limit(), self.config.system)


class MaskedLM(Task):
    """Masked words of plain `text`."""

    auto, writes, reads = "AutoModelForMaskedLM", True, ("text",)

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """ids, cut to max_length."""
        ids = self.processing(text_of(row, "text"), truncation=True, max_length=self.limit(), return_special_tokens_mask=True)
        return {"input_ids": ids["input_ids"], "special_tokens_mask": ids["special_tokens_mask"]}

    def collator(self) -> Any:
        """Masked anew in each epoch."""
        from core.trainer.language_collators import DataCollatorForLanguageModeling

        collate: Any = DataCollatorForLanguageModeling(self.processing)
        collate.columns = ("special_tokens_mask",)
        return collate

    def make_trainer(self, *args: Any, **kwargs: Any) -> Any:
        """One that keeps the likeliest tokens alone: a row's logits over the vocabulary would fill the memory."""
        from core.trainer.trainer import Trainer

        likeliest = lambda found, labels: found.argmax(-1)  # noqa: E731
        return Trainer(*args, compute_metrics=self.measure, preprocess_logits_for_metrics=likeliest, **kwargs)

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Share of hidden tokens that are guessed."""
        guessed, labels = found.predictions, found.label_ids
        hidden = labels != -100
        return {"accuracy": float((guessed == labels)[hidden].mean()) if hidden.any() else 0.0}
