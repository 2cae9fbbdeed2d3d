"""Trainer against the reference's: losses, learning rates and gradient norms of every step."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from rows.decoders import GPT2, LLAMA
from support import Row, fresh_pair

import core

ROWS = 22
NO_DROPOUT = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}


def rows(first: int = 0, count: int = ROWS) -> list[dict[str, Any]]:
    """Of uneven lengths' worth of labels, ids of one length."""
    torch.manual_seed(4)
    made = []
    for i in range(count):
        ids = torch.randint(5, 99, (9,))
        labels = ids.masked_fill(torch.arange(9) < first + i % 5, -100)
        made.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    return made


def uneven(count: int = ROWS) -> list[dict[str, Any]]:
    """Rows of 3 to 12 tokens, as lists."""
    torch.manual_seed(5)
    found = []
    for i in range(count):
        ids = torch.randint(5, 99, (3 + i * 7 % 10,)).tolist()
        found.append({"input_ids": ids, "labels": list(ids)})
    return found


def pair(folder: Path, lora: dict[str, Any] | None = None, model_type: str = "llama", **values: Any) -> tuple[Any, Any]:
    """The reference's model and ours with the same weights, adapted where `lora` says so."""
    values = {**(LLAMA if model_type == "llama" else GPT2 | NO_DROPOUT), **values}
    reference, ours = fresh_pair(Row(model_type, "CausalLM", "", values), folder / "model")
    if lora is None:
        return reference, ours
    options = {"r": 4, "target_modules": ["q_proj", "v_proj"], **lora}
    peft.get_peft_model(reference, peft.LoraConfig(**options)).save_pretrained(folder / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "model")
    return (
        peft.PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True),
        core.PeftModel.from_pretrained(ours, folder / "adapter", is_trainable=True),
    )


def histories(models: tuple[Any, Any], folder: Path, data: Any, arguments: dict[str, Any], **more: Any) -> list[list[dict]]:
    """Both libraries' log lines."""
    common = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 3,
        "learning_rate": 5e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        **arguments,
    }
    found = []
    for library, model in zip((transformers, core), models, strict=True):
        own = {name: value[library is core] if isinstance(value, tuple) else value for name, value in more.items()}
        args = library.TrainingArguments(**common)
        trainer = library.Trainer(model=model, args=args, train_dataset=data, **own)
        trainer.train()
        found.append(trainer.state.log_history)
    return found


def same(found: list[list[dict]], names: tuple[str, ...] = ("loss", "grad_norm", "learning_rate")) -> int:
    """Assert that every step's figures are equal to 1e-4; how many steps there were."""
    lines = [[line for line in history if names[0] in line] for history in found]
    assert len(lines[0]) == len(lines[1]) > 0
    for expected, ours in zip(*lines, strict=True):
        assert expected["step"] == ours["step"] and abs(expected["epoch"] - ours["epoch"]) < 1e-6
        for name in names:
            assert abs(ours[name] - expected[name]) <= 1e-4 * max(1, abs(expected[name])), (name, expected, ours)
    return len(lines[0])


@pytest.mark.parametrize(
    ("model_type", "lora"), [("llama", None), ("gpt2", None), ("llama", {}), ("llama", {"lora_dropout": 0.1})]
)
def test_fifty_steps_equal_the_reference(model_type: str, lora: dict | None, tmp_path: Path) -> None:
    """With accumulation over an uneven end of the epoch, warm-up, decay; where the adapter drops out, with the same numbers dropped."""
    arguments = {
        "gradient_accumulation_steps": 2,
        "weight_decay": 0.1,
        "warmup_steps": 3,
        "lr_scheduler_type": "cosine",
        "max_steps": 50,
        "learning_rate": 5e-3 if lora is not None else 1e-3,  # small steps: rounding grows with every step of a whole model
    }
    # the reference counts a row's first label as a target for gpt2 alone, though its loss shifts there too
    data = rows(int(model_type == "gpt2"))
    assert same(histories(pair(tmp_path, lora, model_type), tmp_path, data, arguments)) == 50


SETTINGS: dict[str, dict[str, Any]] = {
    "polynomial": {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 2.0}, "warmup_steps": 2},
    "restarts": {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 3}},
    "least": {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-3}, "warmup_steps": 2},
    "constant": {"lr_scheduler_type": "constant"},
    "warm constant": {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.3},
    "inverse": {"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 3},
    "stable": {"lr_scheduler_type": "warmup_stable_decay", "warmup_steps": 2, "lr_scheduler_kwargs": {"num_decay_steps": 4}},
    # AdamW's first step is a sign: where a gradient is nothing but rounding, it is a coin's
    "smoothed": {"label_smoothing_factor": 0.2, "gradient_accumulation_steps": 3, "optim": "sgd"},
    "adafactor": {"optim": "adafactor", "weight_decay": 0.1},
    "sgd": {"optim": "sgd", "optim_args": None, "weight_decay": 0.1},
    "plain adamw": {"optim": "adamw_torch", "adam_beta2": 0.95, "adam_epsilon": 1e-6},
    "data seed": {"data_seed": 11, "dataloader_drop_last": True},
    "neftune": {"neftune_noise_alpha": 5.0},
    "short": {"num_train_epochs": 1.5, "max_grad_norm": 0.05, "logging_steps": 0.25, "logging_first_step": True},
    "bf16": {
        "bf16": True,
        "learning_rate": 2e-4,
    },  # small steps: each library's rounding, itself another on every CPU, grows with them
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_equal_the_reference(name: str, tmp_path: Path) -> None:
    arguments = {"num_train_epochs": 2, "learning_rate": 2e-3, **SETTINGS[name]}
    found = histories(pair(tmp_path), tmp_path, rows(), arguments)
    if name == "bf16":  # our products round in other places
        lines = [[line for line in history if "grad_norm" in line] for history in found]
        for expected, ours in zip(*lines, strict=True):
            assert abs(ours["loss"] - expected["loss"]) < 0.02 * expected["loss"]
            assert abs(ours["learning_rate"] - expected["learning_rate"]) < 1e-9
    else:
        same(found)


@pytest.mark.parametrize("grouped", [False, True])
def test_padded_rows_equal_the_reference(grouped: bool, tmp_path: Path) -> None:
    """Rows of many lengths through each library's own collator; grouped by length, in the reference's order."""
    backend = transformers.PreTrainedTokenizerFast(tokenizer_object=words(), pad_token="<pad>", eos_token="</s>")
    backend.save_pretrained(tmp_path / "tokenizer")
    tokenizers = (backend, core.AutoTokenizer.from_pretrained(tmp_path / "tokenizer"))
    collators = tuple(
        library.DataCollatorForSeq2Seq(tokenizer) for library, tokenizer in zip((transformers, core), tokenizers, strict=True)
    )
    arguments: dict[str, Any] = {"num_train_epochs": 3, "learning_rate": 1e-3}
    if grouped:
        arguments["train_sampling_strategy"] = "group_by_length"
    same(histories(pair(tmp_path), tmp_path, uneven(), arguments, data_collator=collators))


def words() -> Any:
    """A tokenizer that knows w0 … w90."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["<pad>", "</s>", "<unk>", "<mask>", *(f"w{i}" for i in range(90))]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return backend


class Stream(torch.utils.data.IterableDataset):
    """Rows without a length."""

    def __iter__(self) -> Any:
        return iter(rows())


def test_a_stream_of_rows_equals_the_reference(tmp_path: Path) -> None:
    """Over more than one pass."""
    found = histories(pair(tmp_path), tmp_path, Stream(), {"max_steps": 10, "gradient_accumulation_steps": 2})
    lines = [[line["loss"] for line in history if "grad_norm" in line] for history in found]
    assert len(lines[0]) == 10 and all(abs(a - b) < 1e-4 for a, b in zip(*lines, strict=True))


def test_evaluations_and_the_best_equal_the_reference(tmp_path: Path) -> None:
    """Evaluated figures, the best checkpoint found, kept and loaded at the end."""

    def measure(found: Any) -> dict[str, float]:
        guesses = found.predictions[0] if isinstance(found.predictions, tuple) else found.predictions
        right = (guesses[:, :-1].argmax(-1) == found.label_ids[:, 1:]) & (found.label_ids[:, 1:] != -100)
        return {"right": float(right.sum())}

    common = {"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4, "save_total_limit": 2}
    common |= {"load_best_model_at_end": True, "num_train_epochs": 3, "learning_rate": 0.05, "per_device_eval_batch_size": 4}
    ends, bests = [], []
    for library, model in zip((transformers, core), pair(tmp_path), strict=True):
        folder = tmp_path / library.__name__
        args = library.TrainingArguments(
            output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, logging_steps=1, seed=3, **common
        )
        trainer = library.Trainer(model, args, train_dataset=rows(), eval_dataset=rows(1, 10), compute_metrics=measure)
        trainer.train()
        history = [line for line in trainer.state.log_history if "eval_loss" in line]
        ends.append([*history, trainer.evaluate()])
        bests.append((trainer.state.best_global_step, trainer.state.best_metric))
        assert len(list(folder.glob("checkpoint-*"))) == 2
        assert (folder / f"checkpoint-{bests[-1][0]}").is_dir()
        predicted = trainer.predict(rows(1, 10))
        assert predicted.predictions.shape == (10, 9, 99) if library is core else True
    assert bests[0][0] == bests[1][0] < 24 and len(ends[0]) == len(ends[1])
    for expected, ours in zip(*ends, strict=True):
        assert abs(expected["eval_loss"] - ours["eval_loss"]) < 1e-3 and expected["eval_right"] == ours["eval_right"]
    assert abs(bests[0][1] - bests[1][1]) < 1e-3


def test_a_classifier_is_trained_as_by_the_reference(tmp_path: Path) -> None:
    """Without accumulation: with it the reference adds up the batches' means, we average them."""
    values = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
    values |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 3}
    models = fresh_pair(Row("bert", "SequenceClassification", "", values), tmp_path / "model")
    data = [{"input_ids": row["input_ids"], "label": i % 3} for i, row in enumerate(rows())]
    same(histories(models, tmp_path, data, {"num_train_epochs": 2}))
