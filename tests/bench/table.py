"""The figures as a table of a Markdown file, between two marks."""

from pathlib import Path

from tests.bench.harness import Result

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
HEAD = ["| row | ours | the other's | ratio | asked |", "| --- | --- | --- | --- | --- |"]


def put(results: list[Result], path: Path) -> None:
    """Write the rows in place of those that stand there under the same name and note; rows that were not measured stay."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    old, after = rest.split(END)
    lines = [*HEAD, *(line for line in old.splitlines() if line.startswith("|")), *map(_line, results)]
    table = {line.split("|")[1]: line for line in lines}  # by its first cell, the newest
    path.write_text(f"{before}{BEGIN}\n\n" + "\n".join(table.values()) + f"\n\n{END}{after}", encoding="utf-8")


def _line(result: Result) -> str:
    other = "" if result.other is None else f"{result.other_name}: {result.other:.4g} {result.unit}"
    ratio = "" if result.ratio is None else f"{result.ratio:.2f}{' ×' if result.times else ''}"
    asked = (
        ""
        if result.aim is None
        else f"{'at least' if result.times else 'at most'} {result.aim:g}{'' if result.met else ', missed'}"
    )
    note = f" ({result.note})" if result.note else ""
    return f"| {result.name}{note} | {result.ours:.4g} {result.unit} | {other} | {ratio} | {asked} |"
