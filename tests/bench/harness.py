"""Measurements, ours and the other's in turn, in this process or in fresh ones; medians and their ratio."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Measure = Callable[[], float]


@dataclass
class Row:
    """One figure of ours, beside another's where there is one to beat. Less is better.

    With `times` the ratio says how many times less ours is, and should be at least `aim`; without, it is ours over the other's and
    should be at most `aim`. A measure may raise Absent where what it needs is not there.
    """

    name: str
    unit: str
    ours: Measure
    other: Measure | None = None
    other_name: str = "transformers"
    aim: float | None = None  # of our figure, or of the ratio where there is another
    rounds: int | None = None
    times: bool = False
    note: str = ""


class Absent(Exception):
    """What a row needs is not on this machine; the message says what."""


@dataclass
class Result:
    """Medians of one row."""

    name: str
    unit: str
    ours: float
    other: float | None
    other_name: str
    aim: float | None
    times: bool = False
    note: str = ""
    samples: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)  # one a round, from two figures taken one after the other

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None where there is none."""
        if self.aim is None:
            return None
        figure = self.ours if self.ratio is None else self.ratio
        return figure >= self.aim if self.times else figure <= self.aim

    def line(self) -> str:
        """For the terminal."""
        shown = f"{self.name:34} {self.ours:10.4g} {self.unit:8}"
        if self.ratio is not None:
            ratio = f"{self.ratio:.2f} x" if self.times else f"ratio {self.ratio:.2f}"
            shown += f"  {self.other_name} {self.other:.4g} {self.unit}  {ratio}"
        if self.aim is not None:
            shown += f"  {'at least' if self.times else 'at most'} {self.aim:g}: {'met' if self.met else 'MISSED'}"
        return shown + (f"  ({self.note})" if self.note else "")


def run(row: Row, rounds: int) -> Result:
    """Ours and the other's in turn, so that a slow minute slows both."""
    ours, others = [], []
    for _ in range(row.rounds or rounds):
        ours.append(row.ours())
        if row.other is not None:
            others.append(row.other())
    other = statistics.median(others) if others else None
    ratios = [theirs / own if row.times else own / theirs for own, theirs in zip(ours, others, strict=False) if own and theirs]
    note = row.note
    return Result(row.name, row.unit, statistics.median(ours), other, row.other_name, row.aim, row.times, note, ours, ratios)


def seconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def child(name: str, *arguments: str, module: str = "children") -> dict[str, float]:
    """What a function of tests/bench/children.py, or of another module there, reports, in a process of its own: its figures, its seconds from start to
    end and `peak`, the most memory it held, in MB."""
    command = [sys.executable, "-m", f"tests.bench.{module}", name, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def write(results: list[Result], path: Path) -> None:
    """The figures as JSON."""
    rows = [asdict(r) | {"ratio": r.ratio, "met": r.met} for r in results]
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
