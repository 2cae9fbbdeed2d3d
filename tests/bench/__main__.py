"""`python launch.py bench [NAME …] [--rounds N] [--json FILE]`: the table of rows, measured."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import kernels
from tests.bench.harness import Row, child, run, write
from tests.bench.page import second_start


def rows(gguf: Path, folder: Path) -> list[Row]:
    """Every figure. gguf: SmolLM2's file; folder: the same model as float32 safetensors."""

    def seconds(name: str, *arguments: str) -> Callable[[], float]:
        return lambda: child(name, *arguments)["seconds"]

    def weight_of_loading(name: str, source: Path) -> Callable[[], float]:
        """Peak memory above that of the imports, over the size of the weights."""

        def measure() -> float:
            loaded = child(name, str(source))
            return (loaded["peak"] - child("import_torch")["peak"]) / loaded["weights"]

        return measure

    return [
        Row("start.second", "s", lambda: second_start()["seconds"], aim=8),
        Row("page.idle_memory", "MB", lambda: second_start()["memory"], aim=700, rounds=1),
        Row("import.core", "s", seconds("import_core"), seconds("import_torch"), "torch", aim=1.15),
        Row("load.gguf", "s", seconds("ours", str(gguf)), seconds("reference", str(gguf)), aim=1, rounds=3),
        Row("load.safetensors", "s", seconds("ours", str(folder)), seconds("reference", str(folder)), aim=1),
        Row("memory.gguf", "x", weight_of_loading("ours", gguf), weight_of_loading("reference", gguf), aim=1, rounds=1),
        Row(
            "memory.safetensors", "x", weight_of_loading("ours", folder), weight_of_loading("reference", folder), aim=1, rounds=1
        ),
        *kernels.rows(gguf, folder),
    ]


def main() -> None:
    """Measure the rows asked for, or all."""
    parser = argparse.ArgumentParser(prog="launch.py bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="rows, or beginnings of their names; all where none is given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    from core.checkpoints import catalogue

    entry = catalogue.load_catalogue()["SmolLM2-135M-Instruct"]
    gguf = catalogue.fetch(entry) / entry.file
    with tempfile.TemporaryDirectory() as folder:
        chosen = [row for row in rows(gguf, Path(folder)) if not args.names or row.name.startswith(tuple(args.names))]
        if not chosen:
            parser.error(f"no such row; there are: {', '.join(row.name for row in rows(gguf, Path(folder)))}")
        if any(row.name.endswith(("safetensors", "bf16", "fp32")) for row in chosen):
            child("save", str(gguf), folder)
        results = []
        for row in chosen:
            results.append(run(row, args.rounds))
            print(results[-1].line(), flush=True)
    if args.json:
        write(results, args.json)


if __name__ == "__main__":
    main()
