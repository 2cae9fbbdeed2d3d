"""A training run as a process of its own: `launch.py train CONFIG.yaml | RUN_ID`.

It reads a frozen YAML, holds its folder's lock, logs each step to the store, and stops at a step's end when its folder holds a file
named `stop`.
"""

import logging
import random
import shutil
import sys
import traceback
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from core.errors import DataError, TrainingError, VitrineError
from core.paths import assets_dir, runs_dir
from core.runs import FileLock, Store
from core.trainer.arguments import TrainingArguments
from core.trainer.callbacks import TrainerCallback
from core.trainer.checkpoints import last_checkpoint

logger = logging.getLogger(__name__)
DEFAULTS = {
    "per_device_train_batch_size": 4,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "logging_steps": 1,
    "save_steps": 10,
}


@dataclass
class RunConfig:
    """What a run needs to know; `lora` are LoraConfig's keys, `training` TrainingArguments'.

    eval_fraction: share of the rows held out. exact_match: so many held-out rows are answered before and after, and the share of answers
    that equal the row's is logged.
    """

    model: str
    dataset: str
    name: str = "run"
    max_length: int = 256
    system: str | None = None
    lora: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    sample_prompts: list[str] = field(default_factory=list)
    eval_fraction: float = 0.0
    exact_match: int = 0

    def arguments(self, output_dir: str | Path) -> TrainingArguments:
        """The checked arguments. Raises TrainingError for an unknown or senseless one."""
        if unknown := sorted(set(self.training) - set(TrainingArguments.knobs())):
            raise TrainingError(f"There is no training argument {', '.join(unknown)}.")
        return TrainingArguments(**{**DEFAULTS, **self.training, "output_dir": str(output_dir)})


def read(path: str | Path) -> RunConfig:
    """A configuration from a YAML file. Raises TrainingError naming the file and the key."""
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read as YAML: {error}.") from error
    if not isinstance(values, dict):
        raise TrainingError(f"{path} must hold keys and values.")
    known = {f.name for f in fields(RunConfig)}
    if unknown := sorted(set(values) - known):
        raise TrainingError(f"{path}: unknown key {', '.join(map(str, unknown))}; known: {', '.join(sorted(known))}.")
    if missing := [name for name in ("model", "dataset") if not values.get(name)]:
        raise TrainingError(f"{path} does not say its {' and '.join(missing)}.")
    return RunConfig(**values)


def write(config: RunConfig, path: str | Path) -> None:
    """Write the YAML, beside and renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
    part.replace(path)


class StoreCallback(TrainerCallback):
    """Each step into the store; a stop where the folder asks for one."""

    def __init__(self, store: Store, run: str) -> None:
        import psutil

        self.store, self.run, self.stopped = store, run, False
        self.process = psutil.Process()
        self.stop_file = runs_dir() / run / "stop"

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """How far it will go."""
        self.store.log(self.run, 0, {"max_steps": state.max_steps})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Numbers, memory, the stop."""
        metrics = kwargs["metrics"]
        self.store.log(self.run, state.global_step, metrics)
        self.store.add_system(self.run, self.process.memory_info().rss / 2**20, self.process.cpu_percent())
        print(f"step {state.global_step}/{state.max_steps} loss {metrics['loss']:.4f}", flush=True)
        if self.stop_file.exists():
            self.stop_file.unlink(missing_ok=True)
            self.stopped = control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The evaluation's numbers."""
        self.store.log(self.run, state.global_step, kwargs["metrics"])

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Where the checkpoint stands."""
        self.store.add_checkpoint(self.run, state.global_step, str(kwargs["folder"]))


def execute(run: str, store: Store) -> None:
    """Do the run, or go on with it from its last checkpoint. Raises what went wrong, after it is in the store and the log."""
    folder = runs_dir() / run
    with FileLock(folder / "lock"):
        store.set_state(run, "running")
        try:
            stopped = _train(run, read(folder / "config.yaml"), folder, store)
        except BaseException as error:
            sentence = str(error) if isinstance(error, VitrineError) else f"{type(error).__name__}: {error}"
            stop = isinstance(error, KeyboardInterrupt)
            store.set_state(run, "stopped" if stop else "failed", None if stop else sentence)
            raise
        store.set_state(run, "stopped" if stopped else "finished")


def _train(run: str, config: RunConfig, folder: Path, store: Store) -> bool:
    import torch

    from core.auto import AutoModelForCausalLM
    from core.peft import LoraConfig, get_peft_model
    from core.tokenization import AutoTokenizer
    from core.trainer.collators import DataCollatorWithPadding
    from core.trainer.data import encode_rows, load_rows
    from core.trainer.trainer import Trainer

    args = config.arguments(folder)
    tokenizer = AutoTokenizer.from_pretrained(config.model)
    plain = load_rows(find_dataset(config.dataset))
    random.Random(args.seed).shuffle(plain)
    held_out = int(len(plain) * config.eval_fraction)
    train_rows = encode_rows(tokenizer, plain[held_out:], config.max_length, config.system)
    eval_rows = encode_rows(tokenizer, plain[:held_out], config.max_length, config.system) if held_out else None
    asked = plain[: min(held_out, config.exact_match)]
    torch.manual_seed(args.seed)
    model = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    lora = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **config.lora}
    model = get_peft_model(model, LoraConfig(**lora))
    callback = StoreCallback(store, run)
    trainer = Trainer(
        model,
        args,
        DataCollatorWithPadding(tokenizer),
        train_dataset=train_rows,
        eval_dataset=eval_rows,
        callbacks=[callback],
    )
    last = last_checkpoint(folder)
    store.truncate(run, int(last.name.split("-")[1]) if last else 0)
    if last is None:
        _samples(run, 0, config, model, tokenizer, store, asked)
    trainer.train(resume_from_checkpoint=last)
    if callback.stopped:
        return True
    part = folder / "adapter.part"
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    part.replace(folder / "adapter")
    _samples(run, trainer.state.global_step, config, model, tokenizer, store, asked)
    return False


def find_dataset(name: str) -> Path:
    """A path, or the name of a bundled set. Raises DataError where there is neither."""
    path = Path(name).expanduser()
    bundled = assets_dir() / "datasets" / f"{name}.jsonl"
    if not path.exists() and bundled.is_file():
        return bundled
    if not path.exists():
        raise DataError(f"There is no data set '{name}'.")
    return path


def _samples(
    run: str, step: int, config: RunConfig, model: Any, tokenizer: Any, store: Store, asked: list[dict[str, Any]]
) -> None:
    """What the model answers now to the sample prompts and to held-out rows; greedy, so the training's random numbers stay."""
    from core.trainer.data import detect_format, to_messages

    for prompt in config.sample_prompts:
        messages = [{"role": "system", "content": config.system}] if config.system else []
        store.add_sample(run, step, prompt, _answer(model, tokenizer, [*messages, {"role": "user", "content": prompt}]))
    right = 0
    for row in asked:
        messages = to_messages(row, detect_format([row]), config.system)
        place = next(i for i, message in enumerate(messages) if message["role"] == "assistant")
        right += _answer(model, tokenizer, messages[:place]).strip() == messages[place]["content"].strip()
    if asked:
        store.log(run, step, {"exact_match": right / len(asked)})


def _answer(model: Any, tokenizer: Any, messages: list[dict[str, str]]) -> str:
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    out = model.generate(ids, max_new_tokens=48, do_sample=False)
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def main(target: str, overrides: list[str]) -> int:
    """`launch.py train`: a run by its id, or a new one from a YAML with `--learning_rate 2e-4` and the like."""
    store = Store()
    if Path(target).suffix in (".yaml", ".yml"):
        config = read(target)
        config.training |= _overrides(overrides)
        config.arguments(".")
        run = store.create_run("training", config.name, config.model, asdict(config))
        write(config, runs_dir() / run / "config.yaml")
        print(f"run {run}", flush=True)
    else:
        run = store.run(target)["id"]
    try:
        execute(run, store)
    except VitrineError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _overrides(words: list[str]) -> dict[str, Any]:
    """--name value … -> typed values."""
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise TrainingError("After the configuration come pairs such as --learning_rate 2e-4.")
    return {name[2:]: yaml.safe_load(value) for name, value in zip(words[::2], words[1::2], strict=True)}
