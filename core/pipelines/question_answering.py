"""The words of a text that answer a question about it."""

from typing import Any

import numpy as np
import torch

from core.errors import ConfigError, DataError
from core.pipelines.base import Piece, Pipeline, is_stream, row_of
from core.pipelines.options import Option

FAR = -10000.0  # the logit of a place where no answer can be


class QuestionAnsweringPipeline(Pipeline):
    """`answer(question="Who?", context="Ada wrote it.")` -> {"score", "start", "end", "answer"}, places in characters of the context.

    A long context is read in windows of max_seq_len tokens that share doc_stride of them; each gives its own spans.
    Several questions give a list; top_k above 1 gives lists of answers.
    """

    task = "question-answering"
    kinds = ("QuestionAnswering",)
    options = (
        Option("top_k", 1, "How many answers to give, the best first.", 1),
        Option("doc_stride", None, "Tokens that windows of a long context share; None is 128, or half a window.", 0),
        Option("max_answer_len", 15, "Most tokens of an answer.", 1, 1000),
        Option("max_seq_len", None, "Tokens of a window, question included; None is 384, or what the model reads.", 8),
        Option("max_question_len", 64, "Most tokens of a question; a longer one is cut.", 1, 1000),
        Option("handle_impossible_answer", False, "Whether there may be no answer: an empty one then."),
        Option("align_to_words", True, "Whether answers are whole words."),
    )

    def is_many(self, inputs: Any, options: dict[str, Any]) -> bool:
        """A list of one is taken as that one."""
        return is_stream(inputs) or (isinstance(inputs, list | tuple) and len(inputs) != 1)

    def __call__(self, *inputs: Any, batch_size: int | None = None, num_workers: int = 0, **given: Any) -> Any:
        """question and context by name, each a text or a list; or {"question", "context"}, or several such."""
        question, context = given.pop("question", None), given.pop("context", None)
        items: Any = inputs[0] if len(inputs) == 1 else list(inputs)
        if len(inputs) == 2 and all(isinstance(text, str) for text in inputs):
            items = {"question": inputs[0], "context": inputs[1]}
        if not inputs:
            if question is None or context is None:
                raise DataError("question-answering takes a question and a context: answer(question=…, context=…).")
            items = _pairs(question, context)
        if isinstance(items, list | tuple) and len(items) == 1:
            items = items[0]
        return super().__call__(items, batch_size=batch_size, **given)

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """A window each."""
        question, context = _texts(item)
        length = min(options["max_seq_len"] or 384, self.most_tokens)
        stride = options["doc_stride"]
        stride = min(length // 2, 128) if stride is None else stride
        asked = self.tokenizer(question, add_special_tokens=False)
        room = length - self.tokenizer.num_special_tokens_to_add(pair=True)
        words = len(asked["input_ids"])
        cut = max(0, words - min(options["max_question_len"], room - 1))
        if cut:
            question = question[: asked.encodings[0].offsets[words - cut][0]]
        if stride >= room - (words - cut):
            raise ConfigError(
                f"doc_stride ({stride}) must be below the {room - words + cut} tokens of context that a window of {length} holds."
            )
        rows = self.tokenizer(
            [question], [context], truncation="only_second", max_length=length, stride=stride, return_overflowing_tokens=True,
            return_token_type_ids=True,
        )  # fmt: skip
        pieces = []
        for i, encoding in enumerate(rows.encodings):
            may = np.array([part == 1 for part in encoding.sequence_ids])
            if (first := self.tokenizer.cls_token_id) is not None:
                may |= np.array(rows["input_ids"][i]) == first
            row = row_of(rows, i)
            if "token_type_ids" not in self.tokenizer.model_input_names:
                row.pop("token_type_ids")
            pieces.append(Piece(row, (context, encoding, may)))
        pieces[0].cut = cut
        return pieces

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """(2, tokens) a row: where an answer begins, where it ends."""
        out = self.run_model(inputs)
        return list(torch.stack([out.start_logits, out.end_logits], 1).float().cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> Any:
        """The best answers of all windows; one that several windows or spans give counts once, its scores added."""
        top_k, aligned = options["top_k"], options["align_to_words"]
        nothing, answers = 1e6, []
        for piece, logits in zip(pieces, outputs, strict=True):
            context, encoding, may = piece.facts
            start, end = (chances(row[: piece.length].numpy(), may) for row in logits)
            nothing = min(nothing, float(start[0] * end[0]))
            start[0] = end[0] = 0.0
            wanted = 2 * top_k + 10 if aligned else top_k  # words that several spans share are found more than once
            for first, last, value in spans(start, end, wanted, options["max_answer_len"], may):
                low, high = _characters(encoding, first, last, aligned)
                answer = context[low:high]
                same = next((a for a in answers if a["answer"].lower() == answer.lower()), None)
                if same is None:
                    answers.append({"score": value, "start": low, "end": high, "answer": answer})
                else:
                    same["score"] += value
        if options["handle_impossible_answer"]:
            answers.append({"score": nothing, "start": 0, "end": 0, "answer": ""})
        answers = sorted(answers, key=lambda a: a["score"], reverse=True)[:top_k]
        return answers[0] if len(answers) == 1 else answers


def chances(logits: np.ndarray, may: np.ndarray) -> np.ndarray:
    """(tokens,) -> (tokens,): how likely an answer begins, or ends, at a token that may be in one."""
    logits = np.where(may, logits, np.float32(FAR))
    values = np.exp(logits - logits.max())
    return values / values.sum()


def spans(start: np.ndarray, end: np.ndarray, count: int, longest: int, may: np.ndarray) -> list[tuple[int, int, float]]:
    """(first, last, score) of the best spans of at most `longest` tokens; a score is the product of both chances.

    Devlin et al. 2019, 4.2."""
    scores = np.tril(np.triu(np.outer(start, end)), longest - 1).ravel()
    if count == 1:
        best = np.array([scores.argmax()])
    elif len(scores) <= count:
        best = np.argsort(-scores)
    else:
        best = np.argpartition(-scores, count)[:count]
        best = best[np.argsort(-scores[best])]
    firsts, lasts = np.divmod(best, len(start))
    return [
        (int(first), int(last), float(scores[at]))
        for first, last, at in zip(firsts, lasts, best, strict=True)
        if may[first] and may[last]
    ]


def _characters(encoding: Any, first: int, last: int, aligned: bool) -> tuple[int, int]:
    """The characters of the context from one token to another, or of the words that they are in."""
    low, high = encoding.offsets[first][0], encoding.offsets[last][1]
    words = (encoding.word_ids[first], encoding.word_ids[last])
    if aligned and None not in words:
        begin, end = (encoding.word_to_chars(word, 1) for word in words)
        if begin is not None and end is not None:
            low, high = begin[0], end[1]
    return low, high


def _pairs(question: Any, context: Any) -> list[dict[str, Any]]:
    if isinstance(question, list | tuple):
        contexts = [context] * len(question) if isinstance(context, str) else list(context)
        if len(contexts) != len(question):
            raise DataError(
                f"There are {len(question)} questions and {len(contexts)} contexts: give one context, or one for each."
            )
        return [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]
    return [{"question": question, "context": context}]


def _texts(item: Any) -> tuple[str, str]:
    """The two texts of an input. Raises DataError."""
    if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("question", "context")):
        raise DataError('question-answering takes {"question": text, "context": text}.')
    for key in ("question", "context"):
        if not item[key].strip():
            raise DataError(f"The {key} is empty.")
    return item["question"], item["context"]
