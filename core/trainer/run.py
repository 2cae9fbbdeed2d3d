"""A training run as a process of its own: `launch.py train CONFIG.yaml | RUN_ID`, or one of torchrun's.

It reads a frozen YAML, holds its folder's lock, logs each step to the store, and stops at a step's end when its folder holds a file
named `stop`.
"""

import logging
import random
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from core.errors import DataError, StoreError, TrainingError, VitrineError, one_line
from core.paths import runs_dir
from core.runs import FileLock, Store
from core.trainer import distributed
from core.trainer.answering import answers, judge
from core.trainer.callbacks import TrainerCallback
from core.trainer.checkpoints import last_checkpoint
from core.trainer.config import DEFAULTS, RunConfig, explain, find_dataset, override, read, write
from core.trainer.saving import write_model

__all__ = ["DEFAULTS", "RunConfig", "find_dataset", "read", "write"]
logger = logging.getLogger(__name__)


class StoreCallback(TrainerCallback):
    """Each step into the store; a stop where the folder asks for one. Of several processes the first alone writes."""

    def __init__(self, store: Store, run: str) -> None:
        import psutil

        self.store, self.run, self.stopped, self.first = store, run, False, distributed.world()[0] == 0
        self.process = psutil.Process()
        self.stop_file = runs_dir() / run / "stop"

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """How far it will go."""
        if self.first:
            self.store.log(self.run, 0, {"max_steps": state.max_steps})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Numbers, memory, the stop."""
        if not self.first:
            return
        metrics = kwargs["metrics"]
        self.store.log(self.run, state.global_step, metrics)
        self.store.add_system(self.run, self.process.memory_info().rss / 2**20, self.process.cpu_percent())
        print(f"step {state.global_step}/{state.max_steps} loss {metrics['loss']:.4f}", flush=True)
        if self.stop_file.exists():
            self.stop_file.unlink(missing_ok=True)
            self.stopped = control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The evaluation's numbers."""
        if self.first:
            self.store.log(self.run, state.global_step, kwargs["metrics"])
            print("step", state.global_step, *(f"{k} {v:.4f}" for k, v in kwargs["metrics"].items()), flush=True)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Where the checkpoint stands."""
        if self.first:
            self.store.add_checkpoint(self.run, state.global_step, str(kwargs["folder"]))


def execute(run: str, store: Store) -> None:
    """Do the run, or go on with it from its last checkpoint. Raises what went wrong, after it is in the store and the log."""
    folder, first = runs_dir() / run, distributed.world()[0] == 0
    with FileLock(folder / "lock") if first else _nothing():
        if first:
            store.set_state(run, "running")
        try:
            stopped = _train(run, read(folder / "config.yaml"), folder, store)
        except BaseException as error:
            sentence = str(error) if isinstance(error, VitrineError) else f"{type(error).__name__}: {error}"
            stop = isinstance(error, KeyboardInterrupt)
            if first:
                with suppress(StoreError):  # on a full disk: the first error says more
                    store.set_state(run, "stopped" if stop else "failed", None if stop else sentence)
            raise
        if first:
            store.set_state(run, "stopped" if stopped else "finished")


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _train(run: str, config: RunConfig, folder: Path, store: Store) -> bool:
    import torch

    import core
    from core.trainer.scratch import begin
    from core.trainer.tasks import task_class

    args = config.arguments(folder)
    kind = task_class(config.task)
    plain, held = _rows(config, args.seed)
    if config.scratch:
        config = begin(config, kind.auto, plain, folder, args.seed)
    task = kind(config)
    plain = task.learn(plain)
    held = task.renamed(held) if held else []
    torch.manual_seed(args.seed)
    auto = getattr(core, task.auto)
    options = {"dtype": getattr(torch, config.dtype), "output_loading_info": True, **task.model_options()}
    model, info = auto.from_pretrained(config.model, **options)
    task.prepare(model)
    train_rows = task.encode(plain, True)
    eval_rows = task.encode(held, False) if held else None
    if config.lora is not None:
        model = _adapted(model, task, config.lora, info["missing_keys"])
    callback = StoreCallback(store, run)
    rows = {"train_dataset": train_rows, "eval_dataset": eval_rows}
    trainer = task.make_trainer(model, args, task.collator(), processing_class=task.processing, callbacks=[callback], **rows)
    last = last_checkpoint(folder)
    first = distributed.world()[0] == 0
    asked = held[: config.exact_match]
    if first:
        store.truncate(run, int(last.name.split("-")[1]) if last else 0)
        if last is None:
            _samples(run, 0, config, model, task.processing, store, asked)
    trainer.train(resume_from_checkpoint=last)
    if distributed.agreed(callback.stopped):
        return True
    model = trainer.whole_model()
    if first:
        _keep(model, task.processing, folder, "adapter" if config.lora is not None else "model")
        _samples(run, trainer.state.global_step, config, model, task.processing, store, asked)
    distributed.wait()
    if eval_rows is not None:
        trainer.evaluate()
    return False


def _rows(config: RunConfig, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows to train on and rows to judge by, none of them twice."""
    from core.trainer.reading import load_rows

    train, valid = config.files()
    plain = load_rows(train, config.header)
    random.Random(seed).shuffle(plain)
    if valid is not None and not config.eval_fraction:
        return plain, load_rows(valid, None if valid.suffix == ".jsonl" else config.header, "valid")
    held = int(len(plain) * config.eval_fraction)
    return plain[held:], plain[:held]


def _adapted(model: Any, task: Any, lora: dict[str, Any], new: list[str]) -> Any:
    """The model with a LoRA; a head of classes is trained whole, one over the vocabulary where the files had none."""
    from core.peft import LoraConfig, get_peft_model

    settings = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": task.peft_type, **lora}
    if "modules_to_save" not in lora:
        heads = [
            name for name, part in model.named_children() if model.in_head(f"{name}.") and any(True for _ in part.parameters())
        ]
        heads = [name for name in heads if not task.writes or any(key.startswith(f"{name}.") for key in new)]
        settings["modules_to_save"] = heads or None
    return get_peft_model(model, LoraConfig(**settings))


def _keep(model: Any, processing: Any, folder: Path, name: str) -> None:
    """The adapter or the model, ready for a pipeline, written beside and renamed."""
    part = folder / f"{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        write_model(model, processing, part)
        shutil.rmtree(folder / name, ignore_errors=True)
        part.replace(folder / name)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        problem = getattr(error, "strerror", None) or one_line(error)
        raise TrainingError(
            f"{folder / name} cannot be written: {problem}. The last checkpoint is kept; make room and resume the run."
        ) from error


def _samples(
    run: str, step: int, config: RunConfig, model: Any, tokenizer: Any, store: Store, asked: list[dict[str, Any]]
) -> None:
    """What the model answers now to the sample prompts, and how many of the held-out rows it answers right."""
    begin = [{"role": "system", "content": config.system}] if config.system else []
    prompts = [[*begin, {"role": "user", "content": prompt}] for prompt in config.sample_prompts]
    for prompt, answer in zip(config.sample_prompts, answers(model, tokenizer, prompts), strict=True):
        store.add_sample(run, step, prompt, answer)
    if asked:
        found = judge(model, tokenizer, asked, config.system)
        store.log(run, step, found)
        said = " ".join(f"{name} {value:.4f}" for name, value in found.items())
        print(f"step {step} {said} of {len(asked)} rows", flush=True)


def main(target: str, overrides: list[str]) -> int:
    """`launch.py train`: a run by its id, or a new one from a YAML with `--learning_rate 2e-4` and the like."""
    if target in ("-h", "--help") or "--help" in overrides:
        print(explain())
        return 0
    try:
        store, run = _begin(target, overrides)
        execute(run, store)
    except VitrineError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        distributed.leave()
    return 0


def _begin(target: str, overrides: list[str]) -> tuple[Store, str]:
    """The run's id; of several processes the first makes it."""
    store = Store()
    if Path(target).suffix not in (".yaml", ".yml"):
        if overrides:
            raise TrainingError("A run goes on as it was begun: its settings cannot be changed.")
        run = store.run(target)["id"]
        distributed.join(read(runs_dir() / run / "config.yaml").arguments("."))
        return store, run
    config = override(read(target), overrides)
    args = config.arguments(".")
    if config.dataset and Path(config.dataset).expanduser().exists():
        config.dataset = str(Path(config.dataset).expanduser().resolve())
    for path in config.files():
        if path is not None and not path.exists():
            raise DataError(f"There is no data set '{path}'.")
    run = ""
    distributed.join(args)
    if distributed.world()[0] == 0:
        run = store.create_run("training", config.name, config.model, asdict(config))
        write(config, runs_dir() / run / "config.yaml")
        print(f"run {run}", flush=True)
    return store, distributed.agreed(run)
