"""What a training does besides its numbers: resume, callbacks, checkpoints, and what it says when something is wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch

import core
from core.errors import DataError, TrainingError
from core.trainer import checkpoints

GPT2 = {"vocab_size": 99, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "eos_token_id": 2, "pad_token_id": 3}


def rows(count: int = 22) -> list[dict[str, Any]]:
    torch.manual_seed(4)
    return [{"input_ids": (ids := torch.randint(5, 99, (9,))), "labels": ids} for _ in range(count)]


def model() -> Any:
    torch.manual_seed(0)
    return core.GPT2LMHeadModel(core.GPT2Config(**GPT2))


def make(folder: Path, *callbacks: Any, data: Any = None, base: Any = None, lora: bool = True, **arguments: Any) -> core.Trainer:
    """A trainer of a tiny model with dropout."""
    adapted = base or model()
    if lora and base is None:
        adapted = core.get_peft_model(adapted, core.LoraConfig(r=2, lora_dropout=0.2))
    usual = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "logging_steps": 1, "save_strategy": "no"}
    args = core.TrainingArguments(output_dir=str(folder), **{**usual, "learning_rate": 1e-2, **arguments})
    return core.Trainer(adapted, args, train_dataset=rows() if data is None else data, callbacks=list(callbacks))


def losses(trainer: core.Trainer) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


class StopAt(core.TrainerCallback):
    """Save and stop after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = control.should_training_stop = state.global_step == self.step


@pytest.mark.parametrize(
    ("stop", "arguments"),
    [
        (1, {}),
        (4, {"gradient_accumulation_steps": 4, "num_train_epochs": 3}),
        (6, {}),
        (9, {"group_by_length": True}),
        (5, {"optim": "adafactor", "lr_scheduler_type": "cosine", "neftune_noise_alpha": 3.0}),
        (3, {"bf16": True, "logging_steps": 2}),
        (4, {"optim": "sgd", "optim_args": "momentum=0.9", "packing": True, "packing_length": 16, "num_train_epochs": 3}),
    ],
)
def test_resume_is_exact(stop: int, arguments: dict[str, Any], tmp_path: Path) -> None:
    """With dropout, in mid-epoch, between batches whose gradients make one step, at an epoch's end."""
    whole = make(tmp_path / "a", **arguments)
    whole.train()
    make(tmp_path / "b", StopAt(stop), **arguments).train()
    resumed = make(tmp_path / "b", **arguments)
    resumed.train(resume_from_checkpoint=True)
    assert losses(whole) == losses(resumed) and whole.state.global_step == resumed.state.global_step > stop
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


class Stream:
    """Rows that nobody can count; three passes over them are many."""

    def __init__(self) -> None:
        self.rows = rows(7)

    def __iter__(self) -> Any:
        return iter(self.rows)


def test_a_stream_resumes_exactly(tmp_path: Path) -> None:
    arguments = {"max_steps": 9, "per_device_train_batch_size": 2}
    whole = make(tmp_path / "a", data=Stream(), **arguments)
    whole.train()
    make(tmp_path / "b", StopAt(6), data=Stream(), **arguments).train()
    resumed = make(tmp_path / "b", data=Stream(), **arguments)
    resumed.train(resume_from_checkpoint=True)
    assert losses(whole) == losses(resumed) and len(losses(whole)) == 9


def test_events_come_in_the_references_order(tmp_path: Path) -> None:
    import transformers

    def recorder(base: type) -> Any:
        class Recorder(base):  # type: ignore[misc]
            def __init__(self) -> None:
                self.seen: list[str] = []

        for event in (name for name in dir(core.TrainerCallback) if name.startswith("on_")):
            setattr(Recorder, event, lambda self, args, state, control, _name=event, **kwargs: self.seen.append(_name))
        return Recorder()

    seen = []
    for library, net in ((transformers, transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2))), (core, model())):
        callback = recorder(library.TrainerCallback)
        args = library.TrainingArguments(
            output_dir=str(tmp_path / library.__name__),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            num_train_epochs=2,
            logging_steps=2,
            eval_strategy="epoch",
            save_strategy="epoch",
            disable_tqdm=True,
            report_to="none",
            use_cpu=True,
        )
        trainer = library.Trainer(net, args, train_dataset=rows(), eval_dataset=rows(6), callbacks=[callback])
        trainer.train()
        trainer.predict(rows(3))
        seen.append(callback.seen)
    assert seen[0] == seen[1]


def test_early_stopping_and_the_best_are_kept(tmp_path: Path) -> None:
    """The learning rate is so high that the loss rises: it stops, and the best checkpoint outlives the limit."""
    trainer = make(
        tmp_path,
        core.EarlyStoppingCallback(early_stopping_patience=2),
        lora=False,
        num_train_epochs=20,
        learning_rate=0.2,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
    )
    trainer.eval_dataset = rows(6)
    trainer.train()
    best = trainer.state.best_global_step
    assert trainer.state.epoch < 20 and trainer.state.global_step == best + 12
    assert (tmp_path / f"checkpoint-{best}").is_dir()
    assert abs(trainer.evaluate()["eval_loss"] - trainer.state.best_metric) < 1e-5


def test_own_parts_are_used(tmp_path: Path) -> None:
    """Optimiser and schedule pair, loss function, metrics with inputs and losses, logits cut before they are kept."""
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1)
    told: dict[str, Any] = {}

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        told["count"] = int(num_items_in_batch)
        return (
            torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten(), reduction="sum")
            / num_items_in_batch
        )

    def measure(found: core.EvalPrediction) -> dict[str, Any]:
        predictions, labels, inputs, lost = found
        return {"shape": predictions.shape[1], "rows": len(labels), "inputs": len(inputs), "lost": len(lost)}

    args = core.TrainingArguments(
        output_dir=str(tmp_path), max_steps=4, logging_steps=1, save_strategy="no", include_for_metrics=["inputs", "loss"]
    )
    trainer = core.Trainer(
        net,
        args,
        train_dataset=rows(8),
        eval_dataset=rows(5),
        compute_loss_func=loss,
        compute_metrics=measure,
        optimizers=(optimizer, schedule),
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
    )
    trainer.train()
    assert told["count"] == 64  # as in a causal model: a row's first label is no target
    rates = [line["learning_rate"] for line in trainer.state.log_history if "learning_rate" in line]
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05])
    metrics = trainer.evaluate()
    assert (metrics["eval_shape"], metrics["eval_rows"], metrics["eval_inputs"], metrics["eval_lost"]) == (9, 5, 5, 5)
    both = trainer.evaluate({"a": rows(3), "b": rows(4)})
    assert both["eval_a_rows"] == 3 and both["eval_b_rows"] == 4


def test_a_checkpoint_that_cannot_be_written_ends_the_run_and_keeps_the_last(tmp_path: Path) -> None:
    class Full(core.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:  # a file stands where the next checkpoint's folder must be made
                (tmp_path / "out" / "checkpoint-4.part").write_text("")
                (tmp_path / "out").chmod(0o500)

    trainer = make(tmp_path / "out", Full(), save_strategy="steps", save_steps=2)
    saved = trainer._write_model

    def write(model: Any, folder: Path) -> None:
        if trainer.state.global_step == 4:
            raise OSError(28, "No space left on device")
        saved(model, folder)

    trainer._write_model = write  # type: ignore[method-assign]
    try:
        with pytest.raises(TrainingError, match=r"checkpoint-4 cannot be written: .*Earlier ones are kept"):
            trainer.train()
    finally:
        (tmp_path / "out").chmod(0o700)
    assert checkpoints.last_checkpoint(tmp_path / "out") == tmp_path / "out" / "checkpoint-2"
    again = make(tmp_path / "out", save_strategy="no")
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 12


def test_a_loss_that_is_no_number_keeps_the_state_before(tmp_path: Path) -> None:
    class Breaking(core.Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return loss * (float("nan") if self.state.global_step == 2 else 1.0)

    args = core.TrainingArguments(output_dir=str(tmp_path), max_steps=5)
    with pytest.raises(TrainingError, match=r"loss is nan at step 3: lower the learning rate.*after step 2 is kept"):
        Breaking(model(), args, train_dataset=rows()).train()
    assert checkpoints.last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    long = [{"input_ids": torch.randint(5, 99, (20,)), "labels": torch.randint(5, 99, (20,))} for _ in range(4)]
    with pytest.raises(TrainingError, match="has 20 tokens, the model reads at most 16: cut the rows"):
        make(tmp_path, data=long).train()
    strange = [{"input_ids": torch.tensor([5, 200]), "labels": torch.tensor([5, 6])}]
    with pytest.raises(TrainingError, match="token id 200, the model knows 99"):
        make(tmp_path, data=strange).train()
    with pytest.raises(DataError, match="no column that GPT2LMHeadModel takes; they have: text"):
        make(tmp_path, data=[{"text": "a"}]).train()
    with pytest.raises(DataError, match=r"input_ids cannot be stacked: they differ in length \(2, 3\)"):
        make(tmp_path, data=[{"input_ids": [1, 2]}, {"input_ids": [1, 2, 3]}]).train()
    with pytest.raises(TrainingError, match="gave no loss: the rows need labels"):
        make(tmp_path, data=[{"input_ids": torch.tensor([5, 6])}]).train()
    with pytest.raises(TrainingError, match="no rows to train on"):
        make(tmp_path, data=[]).train()
    with pytest.raises(TrainingError, match="need max_steps"):
        make(tmp_path, data=Stream()).train()
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        make(tmp_path).train(resume_from_checkpoint=True)

    class Hungry(core.Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            return torch.empty(2**50).sum()

    with pytest.raises(TrainingError, match=r"memory ran out at step 1 with 8 x 9.*lower per_device_train_batch_size"):
        Hungry(model(), core.TrainingArguments(output_dir=str(tmp_path), max_steps=2), train_dataset=rows()).train()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"learning_rate": "fast"}, "learning_rate must be a number, not 'fast'"),
        ({"num_train_epochs": -1}, "num_train_epochs must be between"),
        ({"max_steps": 1.5}, "max_steps must be a whole number"),
        ({"lr_scheduler_type": "wavy"}, "lr_scheduler_type must be one of linear, cosine"),
        ({"optim": "lion"}, "optim must be one of adamw_torch"),
        ({"bf16": "maybe"}, "bf16 must be true or false"),
        ({"bf16": True, "fp16": True}, "Only one of fp16 and bf16"),
        ({"load_best_model_at_end": True, "save_strategy": "steps"}, "wants evaluations where it saves"),
        ({"eval_strategy": "often"}, "eval_strategy must be one of no, steps, epoch"),
        ({"report_to": "nowhere"}, "report_to 'nowhere' is not known"),
        ({"lr_scheduler_kwargs": "{"}, "lr_scheduler_kwargs must be a JSON object"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"cycles": 1}}, "lr_scheduler_kwargs of 'cosine'"),
    ],
)
def test_senseless_arguments(arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=said):
        make(tmp_path, **arguments).train()


def test_arguments_are_read_as_they_are_written() -> None:
    """Numbers as text, earlier names, defaults that follow."""
    args = core.TrainingArguments(
        learning_rate="2e-4",
        evaluation_strategy="steps",
        logging_steps=7,
        bf16="true",
        per_gpu_train_batch_size="3",
        no_cuda=True,
    )
    assert (args.learning_rate, args.eval_strategy, args.eval_steps, args.bf16) == (2e-4, "steps", 7, True)
    assert (args.per_device_train_batch_size, args.use_cpu, args.do_eval) == (3, True, True)
    assert core.TrainingArguments(warmup_ratio=0.1).get_warmup_steps(95) == 10
    assert core.TrainingArguments(warmup_steps=0.1).get_warmup_steps(95) == 10
    best = core.TrainingArguments(metric_for_best_model="eval_f1", eval_strategy="steps")
    assert best.greater_is_better is True
    assert core.TrainingArguments(**core.TrainingArguments(max_steps=3).to_dict()).max_steps == 3


def test_defaults_are_the_references() -> None:
    import dataclasses

    import transformers

    theirs = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[misc]
        for f in dataclasses.fields(transformers.TrainingArguments)
    }
    ours = core.TrainingArguments.knobs()
    shared = [name for name in ours if name in theirs]
    assert len(shared) > 50
    for name in shared:
        default = ours[name].default if ours[name].default is not dataclasses.MISSING else ours[name].default_factory()
        if name not in ("output_dir", "gradient_checkpointing"):  # None there stands for these
            assert default == theirs[name], name
