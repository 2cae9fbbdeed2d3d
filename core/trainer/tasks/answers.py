"""Texts in answer to texts: found in them, or written."""

from typing import Any

import numpy as np

from core.errors import DataError
from core.trainer.metrics import best_span, chrf, exact, token_f1
from core.trainer.tasks.base import Rows, Task, text_of


class QuestionAnswering(Task):
    """Where the answer to a `question` stands in its `context`: `answers` with text and answer_start, as in SQuAD."""

    auto, peft_type, reads = "AutoModelForQuestionAnswering", "QUESTION_ANS", ("question", "context", "answers")

    def encode(self, rows: Rows, training: bool) -> Any:
        """Rows whose answer lies beyond max_length are left out of the training."""
        found = super().encode(rows, training)
        kept = [row for row in found if not training or row["end_positions"]]
        if not kept:
            raise DataError(f"No row has its answer within {self.config.max_length} tokens: raise max_length.")
        if not training:
            self.judged = [(row, encoded.pop("offsets")) for row, encoded in zip(rows, found, strict=True)]
        return kept

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """ids and the answer's first and last token, 0 where it was cut off."""
        question, context = text_of(row, "question").strip(), text_of(row, "context")
        found = self.processing(question, context, truncation="only_second", max_length=self.limit(), return_offsets_mapping=True)
        offsets, parts = found.pop("offset_mapping"), found.sequence_ids()
        begin = int(row["answers"]["answer_start"][0])
        end = begin + len(row["answers"]["text"][0])
        if context[begin:end] != row["answers"]["text"][0]:
            raise DataError(f"its answer does not stand at character {begin} of its context.")
        inside = [i for i, part in enumerate(parts) if part == 1 and offsets[i][0] < end and offsets[i][1] > begin]
        whole = inside and offsets[inside[-1]][1] >= end
        return {
            **found,
            "start_positions": inside[0] if whole else 0,
            "end_positions": inside[-1] if whole else 0,
            "offsets": [tuple(o) if part == 1 else None for o, part in zip(offsets, parts, strict=True)],
        }

    def collator(self) -> Any:
        """Padded."""
        from core.trainer.collators import DataCollatorWithPadding

        return DataCollatorWithPadding(self.processing)

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Exact match and token F1 of the likeliest spans, as SQuAD counts them."""
        starts, ends = found.predictions[:2]
        matches, overlaps = [], []
        for (row, offsets), start, end in zip(self.judged, starts, ends, strict=True):
            first, last = best_span(start, end, offsets)
            answer = row["context"][offsets[first][0] : offsets[last][1]]
            matches.append(max(exact(answer, right) for right in row["answers"]["text"]))
            overlaps.append(max(token_f1(answer, right) for right in row["answers"]["text"]))
        return {"exact_match": float(np.mean(matches)), "f1": float(np.mean(overlaps))}


class Seq2Seq(Task):
    """A `target` text written from a `source` text; a list of targets: any of them is right, the first is learned."""

    auto, peft_type, writes, reads = "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM", True, ("source", "target")

    def encode(self, rows: Rows, training: bool) -> Any:
        """Sources and targets, cut to max_length."""
        found = super().encode(rows, training)
        if not training:
            self.judged = [row["target"] if isinstance(row["target"], list) else [row["target"]] for row in rows]
        return found

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """ids of both."""
        target = row["target"][0] if isinstance(row["target"], list) and row["target"] else row["target"]
        source = self.processing((self.config.system or "") + text_of(row, "source"), truncation=True, max_length=self.limit())
        written = self.processing(text_target=text_of({"target": target}, "target"), truncation=True, max_length=self.limit())
        return {**source, "labels": written["input_ids"]}

    def collator(self) -> Any:
        """Padded, the decoder's inputs with it."""
        from core.trainer.collators import DataCollatorForSeq2Seq

        return DataCollatorForSeq2Seq(self.processing, self.model)

    def make_trainer(self, model: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
        """One that judges written texts."""
        from core.trainer.seq2seq import Seq2SeqTrainer

        args.predict_with_generate, args.generation_max_length, args.generation_num_beams = True, self.config.max_length, 1
        return Seq2SeqTrainer(model, args, *rest, compute_metrics=self.measure, **kwargs)

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Exact match, token F1 and chrF of what was written."""
        pad = self.processing.pad_token_id or 0
        texts = self.processing.batch_decode(np.where(found.predictions < 0, pad, found.predictions), skip_special_tokens=True)
        pairs = list(zip(texts, self.judged, strict=True))
        return {
            "exact_match": float(np.mean([max(exact(text, right) for right in targets) for text, targets in pairs])),
            "f1": float(np.mean([max(token_f1(text, right) for right in targets) for text, targets in pairs])),
            "chrf": chrf(texts, self.judged),
        }
