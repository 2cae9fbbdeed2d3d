"""Trainer against the reference's: losses, learning rates and gradient norms of every step; exact resume."""

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


def rows(first: int = 0) -> list[dict[str, Any]]:
    """Of uneven lengths' worth of labels, ids of one length."""
    torch.manual_seed(4)
    made = []
    for i in range(ROWS):
        ids = torch.randint(5, 99, (9,))
        made.append(
            {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "labels": ids.masked_fill(torch.arange(9) < first + i % 5, -100),
            }
        )
    return made


NO_DROPOUT = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}


@pytest.mark.parametrize(
    ("model_type", "values", "lora"), [("llama", LLAMA, False), ("gpt2", GPT2 | NO_DROPOUT, False), ("llama", LLAMA, True)]
)
def test_every_step_equals_the_reference(model_type: str, values: dict, lora: bool, tmp_path: Path) -> None:
    reference, ours = fresh_pair(Row(model_type, "CausalLM", "", values), tmp_path / "model")
    if lora:
        options = {"r": 4, "target_modules": ["q_proj", "v_proj"]}
        peft.get_peft_model(reference, peft.LoraConfig(**options)).save_pretrained(tmp_path / "adapter")
        base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        reference = peft.PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True)
        ours = core.PeftModel.from_pretrained(ours, tmp_path / "adapter", is_trainable=True)
    common = {
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 2,
        "learning_rate": 5e-3,
        "weight_decay": 0.1,
        "warmup_steps": 3,
        "lr_scheduler_type": "cosine",
        "num_train_epochs": 3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    # the reference counts a row's first label as a target for gpt2 alone, though its loss shifts there too
    first = int(model_type == "gpt2")
    histories = []
    for library, model in ((transformers, reference), (core, ours)):
        extra = {"use_cpu": True} if library is transformers else {}
        trainer = library.Trainer(model=model, args=library.TrainingArguments(**common, **extra), train_dataset=rows(first))
        trainer.train()
        histories.append([line for line in trainer.state.log_history if "grad_norm" in line])
    assert len(histories[0]) == len(histories[1]) == 12
    for expected, found in zip(*histories, strict=True):
        for name in ("loss", "grad_norm", "learning_rate"):
            assert abs(found[name] - expected[name]) <= 1e-4 * max(1, abs(expected[name])), (name, expected, found)


@pytest.mark.parametrize("stop_at", [1, 4, 6])
def test_resume_is_exact(stop_at: int, tmp_path: Path) -> None:
    """With dropout, in mid-epoch."""

    class Stop(core.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_save = state.global_step == stop_at
            control.should_training_stop = state.global_step == stop_at

    def trainer(folder: str, *callbacks: core.TrainerCallback) -> core.Trainer:
        torch.manual_seed(0)
        model = core.GPT2LMHeadModel(core.GPT2Config(**GPT2))
        model = core.get_peft_model(model, core.LoraConfig(r=2, lora_dropout=0.2))
        args = core.TrainingArguments(
            output_dir=str(tmp_path / folder),
            per_device_train_batch_size=4,
            num_train_epochs=2,
            logging_steps=1,
            save_strategy="no",
            learning_rate=1e-2,
        )
        return core.Trainer(model, args, train_dataset=rows(), callbacks=list(callbacks))

    whole = trainer("a")
    whole.train()
    trainer("b", Stop()).train()
    resumed = trainer("b")
    resumed.train(resume_from_checkpoint=True)
    losses = [[line["loss"] for line in t.state.log_history] for t in (whole, resumed)]
    assert losses[0] == losses[1] and len(losses[0]) == 12
