"""What every task has."""

from collections.abc import Callable
from typing import Any

from core.errors import DataError, VitrineError, one_line
from core.trainer.reading import Row, place_of

Rows = list[dict[str, Any]]


class Encoded:
    """Rows that are made ready when they are asked for: images and sound, which would fill the memory."""

    def __init__(self, rows: Rows, encode: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.rows, self.encode = rows, encode

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return numbered(index + 1, self.encode, self.rows[index])


class Task:
    """A task names the kind of its model (`auto`), its processor, the adapter's task type, whether its model `writes` words of a
    vocabulary, and the columns it reads; it makes rows ready, batches of them, and figures of predictions.

    `columns` of the configuration says under which other names a file has them.
    """

    auto: str = ""
    processor: str = "AutoTokenizer"
    peft_type: str = "FEATURE_EXTRACTION"
    writes: bool = False
    reads: tuple[str, ...] = ()

    def __init__(self, config: Any) -> None:
        import core

        self.config = config
        self.processing: Any = getattr(core, self.processor).from_pretrained(config.model)

    def renamed(self, rows: Rows) -> Rows:
        """Rows under this task's names. Raises DataError for a column that is not there, naming those that are."""
        for name in self.reads:
            column = self.config.columns.get(name, name)
            for number, row in enumerate(rows, 1):
                if column not in row:
                    has = ", ".join(map(str, row)) or "none"
                    raise DataError(
                        f"{place_of(row, number)} has no column '{column}'; it has: {has}. Say which one it is with columns: {{{name}: …}}."
                    )
        own = {self.config.columns.get(name, name): name for name in self.reads}
        found: Rows = []
        for row in rows:
            named = Row({own.get(name, name): value for name, value in row.items()})
            named.place = getattr(row, "place", "")
            found.append(named)
        return found

    def learn(self, rows: Rows) -> Rows:
        """See the training rows before anything else; those that are used."""
        return self.renamed(rows)

    def model_options(self) -> dict[str, Any]:
        """Keys of the model's configuration."""
        return {}

    def prepare(self, model: Any) -> None:
        """See the model before the rows are made ready."""
        self.model = model

    def encode(self, rows: Rows, training: bool) -> Any:
        """Rows as the collator takes them."""
        return [numbered(number, self.encode_row, row) for number, row in enumerate(rows, 1)]

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """One row."""
        raise NotImplementedError

    def collator(self) -> Any:
        """Rows -> a batch."""
        raise NotImplementedError

    def make_trainer(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer."""
        from core.trainer.trainer import Trainer

        return Trainer(*args, compute_metrics=self.measure, **kwargs)

    measure: Callable[[Any], dict[str, float]] | None = None

    def limit(self) -> int:
        """Tokens that a row may have: max_length, and no more than the model reads."""
        longest = getattr(self.model.config, "max_position_embeddings", None) or self.config.max_length
        if longest < self.config.max_length:
            raise DataError(
                f"max_length is {self.config.max_length}, {self.config.model} reads at most {longest} tokens: lower it."
            )
        return self.config.max_length


def numbered(number: int, function: Callable[[Any], Any], row: Any) -> Any:
    """A function of a row; its error says which. Raises DataError."""
    try:
        return function(row)
    except DataError as error:
        raise DataError(f"{place_of(row, number)}: {error}") from error
    except (VitrineError, KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f"{place_of(row, number)} cannot be used: {one_line(error)}.") from error


def text_of(row: dict[str, Any], name: str) -> str:
    """A column that holds text. Raises DataError for another value."""
    if not isinstance(row[name], str):
        raise DataError(f"its {name} is a {type(row[name]).__name__}, no text.")
    return row[name]
