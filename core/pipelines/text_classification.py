"""A text's label."""

from typing import Any

from core.errors import DataError
from core.pipelines.base import Piece, Pipeline, row_of
from core.pipelines.options import FUNCTION, Option
from core.pipelines.scores import ranked, score


class TextClassificationPipeline(Pipeline):
    """`classifier("text")` -> [{"label", "score"}]; a list gives one such dictionary for each text. With `top_k`, lists of so many."""

    task = "text-classification"
    kinds = ("SequenceClassification",)
    options = (
        Option("top_k", 1, "How many labels to give, the likeliest first; None for all.", 1, nullable=True),
        FUNCTION,
    )

    def __call__(self, inputs: Any, *, batch_size: int | None = None, num_workers: int = 0, **given: Any) -> Any:
        """A text, a pair as {"text", "text_pair"}, or several of either."""
        result = super().__call__(inputs, batch_size=batch_size, **given)
        return [result] if isinstance(inputs, str) and "top_k" not in given else result

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """With whether the caller said how many labels; only then are they lists."""
        return super().settings(given) | {"listed": "top_k" in {**self.given, **given}}

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        pair = item if isinstance(item, dict) else {"text": item}
        if not isinstance(pair.get("text"), str) or not isinstance(pair.get("text_pair", ""), str):
            raise DataError('text-classification takes a text, or a pair as {"text": …, "text_pair": …}.')
        encoded, cut = self.encode(pair["text"], pair.get("text_pair"))
        return [Piece(row_of(encoded), cut=cut)]

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> Any:
        """The likeliest label, or so many."""
        config = self.model.config
        found = ranked(score(outputs[0], config, options["function_to_apply"]), config, options["top_k"])
        return found if options["listed"] else found[0]
