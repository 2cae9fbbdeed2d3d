"""What the tests of pipelines share: a pipeline of the reference and ours over the same files, and comparison of plain data."""

from pathlib import Path
from typing import Any

import transformers
from support import Row, make_reference
from tokenizer_folders import files_of, write

import core

TEXTS = [
    "Ada Lovelace wrote the first program in London.",
    "short",
    "The weather in Paris is lovely today, is it not? Émile says « oui » to the café on the corner, and 🙂 nothing else.",
    "Two and two make four; three and three make six, said the old teacher to the class in the small town of Ulm.",
]
LONG = " ".join(f"Number {i}: {TEXTS[i % 4]}" for i in range(40))


def text_folder(row: Row, tokenizer: str, folder: Path, **settings: Any) -> Path:
    """A folder with a random model of the row and a tokenizer of this class, for both libraries."""
    write(folder / "files", **files_of(tokenizer), tokenizer_config__json={"tokenizer_class": tokenizer, **settings})
    made = core.AutoTokenizer.from_pretrained(folder / "files")
    made.save_pretrained(folder)
    values = {**row.values, "vocab_size": len(made)}
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        if (number := getattr(made, name)) is not None:
            values[name] = number
    make_reference(Row(row.model_type, row.head, row.what, values)).save_pretrained(folder)
    return folder


def both(task: str, folder: Path, **options: Any) -> tuple[Any, Any]:
    """The reference's pipeline and ours."""
    return (
        transformers.pipeline(task, model=str(folder), tokenizer=str(folder), device="cpu", **options),
        core.pipeline(task, model=str(folder), **options),
    )


def same(ours: Any, reference: Any, where: str = "") -> None:
    """Plain data of one shape: texts and whole numbers equal, others within 1e-5."""
    if isinstance(reference, dict):
        assert isinstance(ours, dict) and list(ours) == list(reference), f"{where}: {ours} != {reference}"
        for key in reference:
            same(ours[key], reference[key], f"{where}.{key}")
    elif isinstance(reference, list | tuple):
        assert type(ours) is type(reference) and len(ours) == len(reference), f"{where}: {ours} != {reference}"
        for i, (left, right) in enumerate(zip(ours, reference, strict=True)):
            same(left, right, f"{where}[{i}]")
    elif hasattr(reference, "dtype") or isinstance(reference, float):
        assert isinstance(ours, float) and abs(ours - float(reference)) <= 1e-5 * max(1, abs(float(reference))), where
    else:
        assert type(ours) is type(reference) and ours == reference, f"{where}: {ours!r} != {reference!r}"
