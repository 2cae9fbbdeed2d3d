"""Classes of texts and of words."""

from typing import Any

from core.errors import DataError
from core.trainer.metrics import accuracy, entity_f1
from core.trainer.tasks.base import Rows, Task, text_of


def classes(values: list[str], wanted: list[str] | None) -> list[str]:
    """The classes in their order: as the configuration lists them, else by name. Raises DataError where there are fewer than two."""
    found = list(wanted) if wanted else sorted(set(values))
    if len(found) < 2:
        raise DataError(f"The rows have {len(found)} class ({', '.join(found)}): two are needed.")
    return found


class Labelled(Task):
    """A model whose configuration names its classes."""

    labels: list[str]

    def model_options(self) -> dict[str, Any]:
        """The classes by number."""
        names = dict(enumerate(self.labels))
        return {"num_labels": len(names), "id2label": names, "label2id": {name: number for number, name in names.items()}}

    def number(self, label: Any) -> int:
        """Of a class. Raises DataError for one that the training rows do not have."""
        if str(label) not in self.labels:
            raise DataError(f"its label '{label}' is none of the training rows': {', '.join(self.labels)}.")
        return self.labels.index(str(label))


class SequenceClassification(Labelled):
    """The class (`label`) of a `text`, or of two (`text_pair`). `labels` of the configuration lists the classes; rows of others are
    left out."""

    auto, peft_type, reads = "AutoModelForSequenceClassification", "SEQ_CLS", ("text", "label")

    def learn(self, rows: Rows) -> Rows:
        """The classes."""
        rows = self.renamed(rows)
        self.labels = classes([str(row["label"]) for row in rows], self.config.labels)
        return [row for row in rows if not self.config.labels or str(row["label"]) in self.labels]

    def encode(self, rows: Rows, training: bool) -> Any:
        """Those of the listed classes."""
        return super().encode([r for r in rows if not self.config.labels or str(r["label"]) in self.labels], training)

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """ids, cut to max_length, and the class's number."""
        found = self.processing(text_of(row, "text"), row.get("text_pair"), truncation=True, max_length=self.limit())
        return {**found, "labels": self.number(row["label"])}

    def collator(self) -> Any:
        """Padded."""
        from core.trainer.collators import DataCollatorWithPadding

        return DataCollatorWithPadding(self.processing)

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Share of right classes."""
        return {"accuracy": accuracy(found.predictions, found.label_ids)}


class TokenClassification(Labelled):
    """The class of each word: `tokens` and `tags`, IOB2 for entities. A word's first token carries its class."""

    auto, peft_type, reads = "AutoModelForTokenClassification", "TOKEN_CLS", ("tokens", "tags")

    def learn(self, rows: Rows) -> Rows:
        """The tags; I- of a type stands beside its B-."""
        rows = self.renamed(rows)
        tags = {str(tag) for row in rows for tag in row["tags"]}
        tags |= {f"I-{tag[2:]}" for tag in tags if tag.startswith("B-")}
        self.labels = classes(list(tags), self.config.labels)
        return rows

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """ids and a label for each, -100 where a word goes on."""
        if len(row["tokens"]) != len(row["tags"]):
            raise DataError(f"it has {len(row['tokens'])} tokens and {len(row['tags'])} tags.")
        found = self.processing(list(row["tokens"]), is_split_into_words=True, truncation=True, max_length=self.limit())
        labels, last = [], None
        for word in found.word_ids():
            labels.append(-100 if word is None or word == last else self.number(row["tags"][word]))
            last = word
        return {**found, "labels": labels}

    def collator(self) -> Any:
        """Padded."""
        from core.trainer.collators import DataCollatorForTokenClassification

        return DataCollatorForTokenClassification(self.processing)

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Entity F1 with its parts, and the share of right words."""
        return entity_f1(found.predictions, found.label_ids, self.labels)
