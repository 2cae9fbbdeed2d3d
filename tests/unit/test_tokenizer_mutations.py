"""Damaged tokenizer files: each loads or gives one sentence with the file's name; no crash, no hang, little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import TokenizerError
from core.tokenization import AutoTokenizer

ROOT = Path(__file__).parents[2]
FORMATS = [
    "tokenizer.json:BertTokenizer",
    "tokenizer.json:T5Tokenizer",
    "tokenizer.json:LlamaTokenizer",
    "vocab.txt",
    "sentencepiece-unigram",
    "sentencepiece-bpe",
    "tokenizer_config.json:BertTokenizer",
    "tokenizer_config.json:WhisperTokenizer",
    "tokenizer_config.json:MBartTokenizer",
    "chat_template.jinja",
]


def mutate(kind: str, count: int, seed: int, folder: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("mutate_tokenizers.py")), kind, str(count), str(seed), str(folder)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "parity"))), "RUST_BACKTRACE": "0"}
    with open(folder / "errors", "w+") as errors:  # panics print themselves there
        child = subprocess.run(
            command, env=env, stdout=subprocess.PIPE, stderr=errors, timeout=max(120, count * 2), errors="replace"
        )
    lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    rows = [line for line in lines if "fault" in line]
    assert child.returncode == 0 and len(rows) == count, (child.returncode, lines[-1:], (folder / "errors").read_text()[-2000:])
    for row in rows:
        assert row["ours"] and row["seconds"] < 5 and row["megabytes"] < 64, row
        assert not row["fault"] or str(folder) in row["fault"], row
        assert "\n" not in row["fault"] and len(row["fault"]) < 700, row
    refused = [row for row in rows if row["fault"]]
    assert len(refused) > count // 5
    named = sum(row["name"] in row["fault"] or "chat template" in row["fault"] for row in refused)
    assert named > 0.9 * len(refused), [row["fault"] for row in refused if row["name"] not in row["fault"]][:9]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_hundred_mutations(kind: str, tmp_path: Path) -> None:
    mutate(kind, 100, 0, tmp_path)


def replaced(count: int) -> dict[str, object]:
    """Each step doubles the text."""
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    return {"type": "Sequence", "normalizers": [step] * count}


LIES: list[tuple[str, dict[str, object], str]] = [
    ("a text of 2^40 times the length", {"normalizer": replaced(40)}, "times as long"),
    (
        "a token at the end of the numbers",
        {"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 4294967295}, "unk_token": "a"}},
        "4294967295",
    ),
    ("an id of no token", {"post_processor": {"type": "BertProcessing", "sep": ["b", 1], "cls": ["c", 70000]}}, "70000"),
    (
        "the same in a sequence",
        {
            "post_processor": {
                "type": "Sequence",
                "processors": [
                    {
                        "type": "RobertaProcessing",
                        "sep": ["b", 9],
                        "cls": ["a", 0],
                        "trim_offsets": True,
                        "add_prefix_space": True,
                    }
                ],
            }
        },
        "9",
    ),
    ("a vocabulary that is none", {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}, "not a tokenizer file"),
    (
        "nested too deep",
        {"normalizer": json.loads('{"type": "Sequence", "normalizers": [' * 200 + "]}" * 200)},
        "not a tokenizer file",
    ),
]


@pytest.mark.parametrize(("lie", "message"), [(lie, message) for _, lie, message in LIES], ids=[name for name, *_ in LIES])
def test_tokenizer_json_that_lies(lie: dict[str, object], message: str, tmp_path: Path) -> None:
    whole = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(whole))
    assert AutoTokenizer.from_pretrained(tmp_path)("b")["input_ids"] == [1]
    path.write_text(json.dumps({**whole, **lie}))
    with pytest.raises(TokenizerError, match=message) as caught:
        AutoTokenizer.from_pretrained(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.soak
@pytest.mark.parametrize("kind", FORMATS)
def test_two_thousand_mutations(kind: str, tmp_path: Path) -> None:
    mutate(kind, 2000, 1000, tmp_path)
