"""`python launch.py bench [NAME …] [--rounds N] [--json FILE] [--picture FILE] [--table FILE] [--text FILE] [--data FILE] [--peers]`: the table, measured."""

import argparse
import sys
from pathlib import Path

from tests.bench import embedding, engine, generation, kernels, quality, scaling, starting, training
from tests.bench.harness import Absent, Result, run, write
from tests.bench.subjects import Subjects
from tests.bench.table import put

SUBJECTS = (starting, generation, kernels, engine, embedding, scaling, quality, training)


def main() -> None:
    """Measure the rows asked for, or all."""
    parser = argparse.ArgumentParser(prog="launch.py bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="rows, or beginnings of their names; all where none is given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--picture", type=Path, help="draw them there (.png or .svg)")
    parser.add_argument("--table", type=Path, help="put them between the marks of this Markdown file")
    parser.add_argument("--text", type=Path, help="what quality is measured on; this repository's own texts where not given")
    parser.add_argument("--peers", action="store_true", help="ask llama.cpp too, where llama-cpp-python is installed")
    parser.add_argument("--data", type=Path, help="instruction rows for the training rows that want real ones")
    args = parser.parse_args()
    subjects = Subjects(args.text, args.peers, args.data)
    table = [row for subject in SUBJECTS for row in subject.rows(subjects)]
    chosen = [row for row in table if not args.names or row.name.startswith(tuple(args.names))]
    if not chosen:
        parser.error(f"no such row; there are: {', '.join(row.name for row in table)}")
    results: list[Result] = []
    failed = 0
    for row in chosen:
        try:
            results.append(run(row, args.rounds))
            print(results[-1].line(), flush=True)
        except Absent as reason:
            print(f"{row.name:34} left out: {reason}", flush=True)
        except Exception as error:  # the other rows' figures are worth having
            failed += 1
            print(f"{row.name:34} FAILED: {error}", flush=True)
    if args.json:
        write(results, args.json)
    if args.table:
        put(results, args.table)
    if args.picture:
        from tests.bench.picture import draw

        draw(results, args.picture)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
