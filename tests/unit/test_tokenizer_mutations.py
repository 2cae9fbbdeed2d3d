"""Damaged tokenizer files: each loads or gives one sentence with the file's name; no crash, no hang, little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.soak
@pytest.mark.parametrize("kind", FORMATS)
def test_two_thousand_mutations(kind: str, tmp_path: Path) -> None:
    mutate(kind, 2000, 1000, tmp_path)
