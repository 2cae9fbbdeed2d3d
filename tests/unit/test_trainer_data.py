"""Files as rows, recipes, and figures of predictions: what is read, and what is said of what cannot be."""

from pathlib import Path

import numpy as np
import pytest

from core.errors import DataError, TrainingError
from core.trainer import metrics
from core.trainer.collators import DataCollatorWithPadding
from core.trainer.config import explain, override, read
from core.trainer.reading import find_splits, load_rows
from core.trainer.sampling import shared_out
from core.trainer.tasks import TASKS, task_class

RECIPES = Path(__file__).resolve().parents[2] / "assets" / "recipes"


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_each_kind_of_file(tmp_path: Path) -> None:
    assert load_rows(put(tmp_path, "a.jsonl", '{"text": "ä"}\n\n{"text": "b"}\n')) == [{"text": "ä"}, {"text": "b"}]
    assert load_rows(put(tmp_path, "a.json", '\ufeff[{"text": "a"}]')) == [{"text": "a"}]
    assert load_rows(put(tmp_path, "a.csv", 'text,label\n"a, b",x\n')) == [{"text": "a, b", "label": "x"}]
    assert load_rows(put(tmp_path, "a.tsv", 'say "a"\tb\n'), ["en", "fr"]) == [{"en": 'say "a"', "fr": "b"}]
    assert load_rows(put(tmp_path, "a.txt", "one\n\ntwo\n")) == [{"text": "one"}, {"text": "two"}]
    conll = load_rows(put(tmp_path, "a.conll", "Ada\tB-PER\nran\tO\n\nRome X B-LOC\n"))
    assert conll == [{"tokens": ["Ada", "ran"], "tags": ["B-PER", "O"]}, {"tokens": ["Rome"], "tags": ["B-LOC"]}]
    np.savez(tmp_path / "a.npz", train_images=np.zeros((2, 3, 3), np.uint8), train_labels=[1, 0], label_names=["x", "y"])
    assert [row["label"] for row in load_rows(tmp_path / "a.npz")] == ["y", "x"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl, row 1: a list where an object"),
        ("a.json", "{}", "must hold a list of rows, not a dict"),
        ("a.csv", "text,label\na,b\nc\n", "a.csv, line 3: 1 fields, the header names 2"),
        ("a.txt", b"good\nbad \xff\n", r"a.txt, line 2, is not UTF-8 text \(byte 9\)"),
        ("a.conll", "Ada\tB-PER\nlonely\n", "a.conll, line 2: a token and its tag"),
        ("a.jsonl", "\n", "a.jsonl has no rows"),
        ("a.xls", "x", "a.xls is not a .json"),
        ("a.npz", "x", "a.npz cannot be read as train_images"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(name: str, text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        load_rows(put(tmp_path, name, text))


def test_a_name_finds_its_splits(tmp_path: Path) -> None:
    train, valid = put(tmp_path, "rows.train.jsonl", "{}"), put(tmp_path, "rows.valid.jsonl", "{}")
    assert find_splits(tmp_path / "rows") == (train, valid) == find_splits(train)
    with pytest.raises(DataError, match="no data set"):
        find_splits(tmp_path / "other")


def test_recipes_are_whole_and_can_be_overridden() -> None:
    paths = sorted(RECIPES.glob("*.yaml"))
    assert {path.stem for path in paths} >= {"wikisql", "movies", "entities"}
    for path in paths:
        config = read(path)
        assert config.task in TASKS and config.arguments(".").output_dir == "." and not config.dataset
    other = override(read(RECIPES / "wikisql.yaml"), "--data x --learning_rate 2e-4 --lora.r 4 --name y".split())
    assert (other.dataset, other.arguments(".").learning_rate, (other.lora or {})["r"], other.name) == ("x", 2e-4, 4, "y")
    with pytest.raises(TrainingError, match="no argument --lerning_rate"):
        override(other, ["--lerning_rate", "1"])
    with pytest.raises(DataError, match="add --data PATH"):
        read(RECIPES / "movies.yaml").files()
    assert "--learning_rate" in explain() and "cosine_with_restarts" in explain()
    with pytest.raises(TrainingError, match="task 'x' is not known"):
        task_class("x")


def test_figures() -> None:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    truth = np.array([[1, 2, 0, 3, -100], [0, 3, 4, 0, -100]])
    guess = np.array([[1, 2, 0, 1, 0], [0, 3, 4, 0, 0]])
    found = metrics.entity_f1(np.eye(5)[guess], truth, names)
    assert found["f1"] == pytest.approx(2 / 3) and found["accuracy"] == pytest.approx(7 / 8)
    assert metrics.entities(["I-PER", "I-LOC", "B-LOC"]) == {("PER", 0, 1), ("LOC", 1, 2), ("LOC", 2, 3)}
    assert metrics.exact("The cat!", "cat") == 1 and metrics.token_f1("a big cat", "cat") == pytest.approx(2 / 3)
    assert metrics.word_error_rate(["a cat sat"], ["The cat sat down"]) == pytest.approx(2 / 4)
    assert metrics.chrf(["le chat"], [["un chien", "le chat"]]) == 1 and metrics.chrf(["xyz"], [["le chat"]]) == 0
    # by hand: of a, b, ab and of a, c, ac one in two letters and no pair is shared
    assert metrics.chrf(["ab"], [["ac"]], longest=2) == pytest.approx(1 / 4)
    starts, ends = np.array([9.0, 1, 5, 0]), np.array([9.0, 6, 1, 0])
    assert metrics.best_span(starts, ends, [None, (0, 1), (2, 3), (4, 5)]) == (1, 1)


def test_rows_are_dealt_out_once() -> None:
    """Two processes together have the rows of one, and weights whose mean is that of the rows."""
    order = list(range(11))
    for ranks in (1, 2, 3):
        parts = [shared_out(order, 2, rank, ranks, False) for rank in range(ranks)]
        counted = [row for rank in parts for rows, weight in rank for row in rows if weight]
        assert sorted(counted) == order and len({len(part) for part in parts}) == 1
        for batches in zip(*parts, strict=True):
            assert sum(weight for _, weight in batches) == pytest.approx(ranks)


def test_padding_follows_the_tokenizers_side() -> None:
    class Tokenizer:
        pad_token_id, padding_side = 7, "left"

    batch = DataCollatorWithPadding(Tokenizer(), pad_to_multiple_of=4)(
        [{"input_ids": [1, 2], "labels": [1, 2]}, {"input_ids": [3], "labels": [3]}]
    )
    assert batch["input_ids"].tolist() == [[7, 7, 1, 2], [7, 7, 7, 3]]
    assert batch["labels"].tolist() == [[-100, -100, 1, 2], [-100, -100, -100, 3]]
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [0, 0, 0, 1]]
