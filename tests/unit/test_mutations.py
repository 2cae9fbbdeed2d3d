"""Broken files of every format: our errors naming the file, no crash, no hang, no memory beyond the file's. See tests/mutations.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import FORMATS, SECONDS


def check(format: str, count: int, folder: Path) -> None:
    command = [sys.executable, str(Path(__file__).parent.parent / "mutations.py"), format, str(count), str(folder)]
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent.parent), "OMP_NUM_THREADS": "1", "PATH": ""}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60 + SECONDS * count)
    assert result.returncode == 0, f"the process died: {result.stderr[-2000:]}"
    found = json.loads(result.stdout.splitlines()[-1])
    assert not found["failures"], found["failures"][:5]
    assert found["loaded"] + found["refused"] == count and found["refused"] > count // 5, found
    assert found["memory"] <= max(64_000_000, 2 * found["size"]) and found["slowest"] < SECONDS, found


@pytest.mark.parametrize("format", FORMATS)
def test_a_hundred(format: str, tmp_path: Path) -> None:
    check(format, 100, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("format", FORMATS)
def test_two_thousand(format: str, tmp_path: Path) -> None:
    check(format, 2000, tmp_path)
