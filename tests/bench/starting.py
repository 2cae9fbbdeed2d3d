"""From nothing to something: imports, loading, the first token, the page."""

from collections.abc import Callable

from tests.bench.harness import Row, child
from tests.bench.page import second_start
from tests.bench.subjects import Subjects


def rows(subjects: Subjects) -> list[Row]:
    """Fresh processes, timed from their start to their end."""

    def seconds(name: str, *files: str) -> Callable[[], float]:
        return lambda: child(name, *(str(getattr(subjects, file)) for file in files))["seconds"]

    def weight_of_loading(name: str, file: str) -> Callable[[], float]:
        """Peak memory above that of the imports, over the size of the weights."""

        def measure() -> float:
            loaded = child(name, str(getattr(subjects, file)))
            return (loaded["peak"] - child("import_torch")["peak"]) / loaded["weights"]

        return measure

    def more_than_torch() -> float:
        return child("import_core")["seconds"] - child("import_torch")["seconds"]

    return [
        Row("start.second", "s", lambda: second_start()["seconds"], aim=8),
        Row("start.idle_memory", "MB", lambda: second_start()["memory"], aim=700, rounds=1),
        Row("start.idle_processor", "%", lambda: second_start()["busy"], aim=3, rounds=1, note="of a core, nobody asking"),
        Row("start.import", "s", more_than_torch, aim=0.3, note="import core, over import torch"),
        Row(
            "start.first_token",
            "s",
            seconds("our_first_token", "gguf"),
            seconds("reference_first_token", "gguf"),
            aim=6,
            rounds=3,
            times=True,
            note="the GGUF file, with its tokenizer, to a token",
        ),
        Row("load.gguf", "s", seconds("ours", "gguf"), seconds("reference", "gguf"), aim=1, rounds=3),
        Row("load.safetensors", "s", seconds("ours", "folder"), seconds("reference", "folder"), aim=1),
        Row("memory.gguf", "x", weight_of_loading("ours", "gguf"), weight_of_loading("reference", "gguf"), aim=1, rounds=1),
        Row(
            "memory.safetensors",
            "x",
            weight_of_loading("ours", "folder"),
            weight_of_loading("reference", "folder"),
            aim=1,
            rounds=1,
        ),
    ]
