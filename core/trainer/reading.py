"""Files -> rows: dictionaries by column name. Every fault is one sentence with the file, the place and what is wrong there."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import DataError, one_line

Rows = list[dict[str, Any]]


class Row(dict[str, Any]):
    """A row that knows its place, such as "Row 3 of rows.jsonl", in whatever order rows come."""

    place: str = ""


def place_of(row: Any, number: int) -> str:
    """Where a row stands: what it knows of itself, else its number."""
    return getattr(row, "place", "") or f"Row {number}"


SPLITS = {"train": ("train",), "valid": ("valid", "validation", "dev")}


def load_rows(path: str | Path, header: list[str] | None = None, split: str = "train") -> Rows:
    """The rows of a .json (a list), .jsonl, .csv, .tsv, .txt (a line a row), .conll, .parquet or .npz file, or of a folder of images
    with a folder a class.

    header: the columns' names where a csv or tsv file has no line of them. split: which arrays of an .npz. Raises DataError.
    """
    path = Path(path)
    if path.is_dir():
        return _numbered(path, _class_folders(path))
    kind = path.suffix.lower()
    if kind not in READERS:
        raise DataError(f"{path.name} is not a {', '.join(READERS)} file.")
    if not path.is_file():
        raise DataError(f"{path} cannot be read: there is no such file.")
    rows = READERS[kind](path, header, split)
    return _numbered(path, rows)


def _numbered(path: Path, rows: Rows) -> Rows:
    if not rows:
        raise DataError(f"{path.name} has no rows.")
    found: Rows = []
    for number, values in enumerate(rows, 1):
        row = Row(values)
        row.place = f"Row {number} of {path.name}"
        found.append(row)
    return found


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path.name}, line {line}, is not UTF-8 text (byte {error.start}): save the file as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _json(path: Path, header: Any, split: str) -> Rows:
    try:
        rows = json.loads(_text(path))
    except ValueError as error:
        raise DataError(f"{path.name} is not JSON: {error}.") from error
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]
    if not isinstance(rows, list):
        raise DataError(f"{path.name} must hold a list of rows, not a {type(rows).__name__}.")
    for number, row in enumerate(rows, 1):
        _object(path, f"row {number}", row)
    return rows


def _object(path: Path, where: str, row: Any) -> None:
    if not isinstance(row, dict):
        raise DataError(f"{path.name}, {where}: a {type(row).__name__} where an object with named fields is expected.")


def _jsonl(path: Path, header: Any, split: str) -> Rows:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path.name}, line {number}: not JSON: {error}.") from error
            _object(path, f"row {number}", row)
            rows.append(row)
    return rows


def _table(separator: str) -> Callable[[Path, Any, str], Rows]:
    def read(path: Path, header: list[str] | None, split: str) -> Rows:
        quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
        lines = _text(path).splitlines(keepends=True)
        reader = csv.reader(lines, delimiter=separator, quoting=quoting)
        rows: Rows = []
        names = header
        try:
            for values in reader:
                if not values:
                    continue
                if names is None:
                    names = values
                elif len(values) != len(names):
                    raise DataError(f"{path.name}, line {reader.line_num}: {len(values)} fields, the header names {len(names)}.")
                else:
                    rows.append(dict(zip(names, values, strict=True)))
        except csv.Error as error:
            raise DataError(f"{path.name}, line {reader.line_num}: {error}.") from error
        return rows

    return read


def _lines(path: Path, header: Any, split: str) -> Rows:
    return [{"text": line} for line in _text(path).splitlines() if line.strip()]


def _conll(path: Path, header: Any, split: str) -> Rows:
    """Sentences: `tokens` and `tags`, the first and the last field of each line; a blank line between them."""
    rows: Rows = []
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*_text(path).splitlines(), ""], 1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("-DOCSTART-"):
            if tokens:
                rows.append({"tokens": tokens, "tags": tags})
                tokens, tags = [], []
        elif line.startswith("# "):
            continue
        elif len(fields) < 2:
            raise DataError(f"{path.name}, line {number}: a token and its tag are expected, not {line!r}.")
        else:
            tokens.append(fields[0])
            tags.append(fields[-1])
    return rows


def _parquet(path: Path, header: Any, split: str) -> Rows:
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-not-found]
    except ImportError:
        raise DataError(
            f"{path.name}: reading Parquet needs pyarrow (pip install pyarrow), or save the rows as .jsonl."
        ) from None
    try:
        return parquet.read_table(path).to_pylist()
    except Exception as error:
        raise DataError(f"{path.name} is not a Parquet file: {one_line(error)}.") from error


def _arrays(path: Path, header: Any, split: str) -> Rows:
    """`image` (height, width[, 3]) uint8 and `label` of train_images and train_labels, or valid_…; label_names name the classes."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file[f"{split}_images"], file[f"{split}_labels"]
            names = [str(name) for name in file["label_names"]] if "label_names" in file else None
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path.name} cannot be read as {split}_images and {split}_labels: {one_line(error)}.") from error
    return [
        {"image": image, "label": names[int(label)] if names else str(int(label))}
        for image, label in zip(images, labels, strict=True)
    ]


IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def _class_folders(folder: Path) -> Rows:
    found = sorted(file for file in folder.glob("*/*") if file.suffix.lower() in IMAGES)
    return [{"image": str(file), "label": file.parent.name} for file in found]


READERS: dict[str, Callable[[Path, Any, str], Rows]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _table(","),
    ".tsv": _table("\t"),
    ".txt": _lines,
    ".conll": _conll,
    ".parquet": _parquet,
    ".npz": _arrays,
}


def find_splits(name: str | Path) -> tuple[Path, Path | None]:
    """The file to train on and the one to judge by, if there is one.

    A file is itself; NAME.train.jsonl is found by NAME and brings NAME.valid.jsonl with it; a folder may hold train and valid folders
    or files. Raises DataError where there is nothing.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path, path if path.suffix == ".npz" else _sibling(path)
    found = {split: _of_split(path, words) for split, words in SPLITS.items()}
    if found["train"] is not None:
        return found["train"], found["valid"]
    if path.is_dir():
        return path, None
    raise DataError(f"There is no data set '{name}'.")


def _sibling(path: Path) -> Path | None:
    """rows.valid.jsonl beside rows.train.jsonl."""
    stem, _, split = path.stem.rpartition(".")
    return _of_split(path.parent / stem, SPLITS["valid"]) if split == "train" else None


def _of_split(path: Path, words: tuple[str, ...]) -> Path | None:
    for word in words:
        beside = [path.with_name(f"{path.name}.{word}{kind}") for kind in READERS]
        within = [path / word, *(path / f"{word}{kind}" for kind in READERS)]
        for candidate in (*beside, *within):
            if candidate.exists():
                return candidate
    return None
