"""The figures as a table of a Markdown file, between two marks."""

from pathlib import Path

from tests.bench.harness import Result

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def put(results: list[Result], path: Path) -> None:
    """Write the table in place of the one that stands there."""
    text = path.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n\n{table(results)}\n{END}{after}", encoding="utf-8")


def table(results: list[Result]) -> str:
    """A line a row."""
    lines = ["| row | ours | the other's | ratio | asked |", "| --- | --- | --- | --- | --- |"]
    for result in results:
        other = "" if result.other is None else f"{result.other_name}: {result.other:.4g} {result.unit}"
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}{' ×' if result.times else ''}"
        if result.aim is None:
            asked = ""
        else:
            asked = f"{'at least' if result.times else 'at most'} {result.aim:g}{'' if result.met else ', missed'}"
        note = f" ({result.note})" if result.note else ""
        lines.append(f"| {result.name}{note} | {result.ours:.4g} {result.unit} | {other} | {ratio} | {asked} |")
    return "\n".join(lines) + "\n"
