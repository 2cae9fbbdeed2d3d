"""Measurements in fresh processes, ours and the other's in turn, medians and their ratio."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Measure = Callable[[], float]


@dataclass
class Row:
    """One figure of ours, beside another's where there is one to beat. Less is better."""

    name: str
    unit: str
    ours: Measure
    other: Measure | None = None
    other_name: str = "transformers"
    aim: float | None = None  # of our figure, or of the ratio where there is another
    rounds: int | None = None


@dataclass
class Result:
    """Medians of one row."""

    name: str
    unit: str
    ours: float
    other: float | None
    other_name: str
    aim: float | None
    samples: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Ours over the other's."""
        return None if self.other is None else self.ours / self.other

    def line(self) -> str:
        """For the terminal."""
        shown = f"{self.name:46} {self.ours:9.2f} {self.unit:3}"
        if self.other is not None:
            shown += f"  {self.other_name} {self.other:9.2f} {self.unit:3}  ratio {self.ratio:5.2f}"
        if self.aim is not None:
            figure = self.ours if self.ratio is None else self.ratio
            shown += f"  aim {self.aim:g}: {'met' if figure <= self.aim else 'MISSED'}"
        return shown


def run(row: Row, rounds: int) -> Result:
    """Ours and the other's in turn, so that a slow minute slows both."""
    ours, others = [], []
    for _ in range(row.rounds or rounds):
        ours.append(row.ours())
        if row.other is not None:
            others.append(row.other())
    other = statistics.median(others) if others else None
    return Result(row.name, row.unit, statistics.median(ours), other, row.other_name, row.aim, ours)


def child(name: str, *arguments: str, module: str = "children") -> dict[str, float]:
    """What a function of tests/bench/children.py, or of another module there, reports, in a process of its own: its figures, its seconds from start to
    end and `peak`, the most memory it held, in MB."""
    command = [sys.executable, "-m", f"tests.bench.{module}", name, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def write(results: list[Result], path: Path) -> None:
    """The figures as JSON."""
    path.write_text(json.dumps([asdict(r) | {"ratio": r.ratio} for r in results], indent=2) + "\n", encoding="utf-8")
