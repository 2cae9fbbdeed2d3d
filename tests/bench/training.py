"""Trainings against the reference's Trainer and peft: time a token, and peak memory. Each is a process of its own:
`python -m tests.bench.training NAME LIBRARY …`."""

import random
import tempfile
import time
from typing import Any

from core.paths import models_dir
from tests.bench.children import report
from tests.bench.harness import Row, child
from tests.bench.subjects import Subjects

STEPS = 5  # of which the first is not counted


def _library(name: str) -> tuple[Any, Any]:
    """The Trainer's library and the adapters'."""
    if name == "ours":
        import core

        return core, core
    import peft
    import transformers

    return transformers, peft


def _timed(library: Any, model: Any, rows: Any, arguments: dict[str, Any], **more: Any) -> dict[str, float]:
    """Train; seconds of the steps after the first, and the tokens that are no padding in them."""
    times: list[float] = []

    class Clock(library.TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            times.append(time.perf_counter())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        common = {"max_steps": STEPS, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
        args = library.TrainingArguments(output_dir=folder, logging_steps=100, **{**common, **arguments})
        library.Trainer(model=model, args=args, train_dataset=rows, callbacks=[Clock()], **more).train()
    taken = [end - begin for begin, end in zip(times[::2], times[1::2], strict=True)]
    return {"step": sum(taken[1:]) / len(taken[1:]), "first": taken[0]}


def lora(name: str, folder: str, dtype: str, targets: str = "q_proj,v_proj", checkpointing: str = "") -> dict[str, float]:
    """LoRA r=8 on 4 rows of 256 random tokens; ms a token."""
    import torch

    library, adapters = _library(name)
    torch.manual_seed(0)
    model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    chosen: Any = targets if targets == "all-linear" else targets.split(",")
    model = adapters.get_peft_model(model, adapters.LoraConfig(r=8, target_modules=chosen, task_type="CAUSAL_LM"))
    rows = [{"input_ids": (ids := torch.randint(0, 49152, (256,))), "labels": ids} for _ in range(4 * STEPS)]
    arguments = {"per_device_train_batch_size": 4, "gradient_checkpointing": bool(checkpointing)}
    found = _timed(library, model, rows, arguments)
    return {**found, "token": found["step"] * 1000 / 1024}


def instructions(name: str, folder: str, words: str, data: str) -> dict[str, float]:
    """LoRA r=8 on real rows, learned on their answers; ms a token that is no padding. Ours packs, the other pads."""
    import torch

    library, adapters = _library(name)
    import core
    from core.trainer.data import encode_rows
    from core.trainer.reading import load_rows

    tokenizer = core.AutoTokenizer.from_pretrained(words)
    plain = load_rows(data)
    random.Random(0).shuffle(plain)
    rows = encode_rows(tokenizer, plain[:200], 512)
    model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    config = adapters.LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = adapters.get_peft_model(model, config)
    if name == "ours":
        arguments, more = {"per_device_train_batch_size": 2, "packing": True, "packing_length": 512}, {}
    else:
        padded = core.DataCollatorWithPadding(tokenizer)
        arguments, more = {"per_device_train_batch_size": 8}, {"data_collator": padded}
    seen: list[int] = []
    collate = more.get("data_collator")
    if collate is not None:
        more["data_collator"] = lambda batch: (seen.append(sum(len(row["input_ids"]) for row in batch)), collate(batch))[1]
        found = _timed(library, model, rows, arguments, **more)
        tokens = sum(seen[1:STEPS]) / (STEPS - 1)
    else:
        from core.trainer.packing import PackedRows

        packed = PackedRows(rows, 512)
        tokens = 2 * sum(len(row["input_ids"]) for row in rows) / len(packed)
        found = _timed(library, model, rows, arguments)
    return {**found, "token": found["step"] * 1000 / tokens}


def classification(name: str, folder: str) -> dict[str, float]:
    """A whole MiniLM on sentences of mixed lengths, grouped; ms a sentence in bfloat16."""
    import torch

    library, _ = _library(name)
    model = library.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.bfloat16)
    chance = random.Random(0)
    rows = []
    for i in range(32 * 40):
        length = min(128, max(6, int(chance.lognormvariate(3.5, 0.6))))
        rows.append({"input_ids": [101, *(chance.randrange(1000, 20000) for _ in range(length - 2)), 102], "label": i % 2})
    import core

    padded = core.DataCollatorWithPadding(core.AutoTokenizer.from_pretrained(folder))
    grouped = {"train_sampling_strategy": "group_by_length", "per_device_train_batch_size": 32, "max_steps": 12}
    found = _timed(library, model, rows, grouped, data_collator=padded)
    return {**found, "token": found["step"] * 1000 / 32}


def first_step(name: str, folder: str) -> dict[str, float]:
    """From the start of the process to the end of a LoRA's first step on 8 tokens."""
    import torch

    library, adapters = _library(name)
    model = library.AutoModelForCausalLM.from_pretrained(folder)
    model = adapters.get_peft_model(model, adapters.LoraConfig(r=8, target_modules=["q_proj", "v_proj"]))
    rows = [{"input_ids": (ids := torch.arange(8)), "labels": ids} for _ in range(2)]
    with tempfile.TemporaryDirectory() as where:
        args = library.TrainingArguments(
            output_dir=where, max_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True
        )
        library.Trainer(model=model, args=args, train_dataset=rows).train()
    return {}


def rows(subjects: Subjects) -> list[Row]:
    """SmolLM2 as safetensors and MiniLM, trained by both; on real instruction rows where there are any."""

    spare: dict[tuple[str, ...], list[dict[str, float]]] = {}  # trainings of which only one figure was asked so far
    asked: dict[tuple[str, ...], str] = {}

    def pair(name: str, key: str, ours: list[Any], other: list[Any]) -> tuple[Any, Any]:
        def measure(library: str, arguments: list[Any]) -> Any:
            def figure() -> float:
                # a file is made when a row first needs it
                command = (name, library, *(str(a(subjects)) if callable(a) else a for a in arguments))
                if asked.setdefault(command, key) != key and spare.get(command):
                    return spare[command].pop(0)[key]
                found = child(*command, module="training")
                spare.setdefault(command, []).append(found)
                return found[key]

            return figure

        return measure("ours", ours), measure("theirs", other)

    def row(title: str, unit: str, aim: float, name: str, key: str, ours: list[Any], other: list[Any] | None = None) -> Row:
        first, second = pair(name, key, ours, ours if other is None else other)
        peer = "peft + Trainer" if name != "classification" else "Trainer"
        return Row(title, unit, first, second, peer, aim, rounds=3, times=key == "token")

    smol, encoder = (lambda s: s.folder), (lambda s: models_dir() / "all-MiniLM-L6-v2")
    half, whole = [smol, "bfloat16"], [smol, "float32"]
    every = [smol, "bfloat16", "all-linear", "checkpointing"]
    found = [
        row("train.lora.time (fp32 there)", "ms", 1.6, "lora", "token", half, whole),
        row("train.lora.peak (fp32 there)", "MB", 0.5, "lora", "peak", half, whole),
        row("train.lora.time (bf16 there)", "ms", 1.1, "lora", "token", half),
        row("train.lora.peak (bf16 there)", "MB", 0.7, "lora", "peak", half),
        row("train.all-linear.checkpointed.peak", "MB", 0.7, "lora", "peak", every),
        row("train.classification.time", "ms", 1.3, "classification", "token", [encoder]),
        row("train.first_step", "s", 0.4, "first_step", "seconds", [smol]),
    ]
    if subjects.data is not None:
        found.append(
            row(
                "train.instructions.time (bf16, padded there)",
                "ms",
                1.6,
                "instructions",
                "token",
                [smol, lambda s: s.gguf, str(subjects.data)],
            )
        )
    return found


if __name__ == "__main__":
    report(globals())
