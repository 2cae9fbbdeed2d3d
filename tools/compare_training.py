"""Trainings beside those of transformers and peft, on real rows and SmolLM2.

    python tools/compare_training.py losses ROWS.jsonl [--steps 50]     the tutorial's LoRA block, step by step, in float32
    python tools/compare_training.py answers FOLDER/wikisql [--epochs 1]   exact match after assets/recipes/wikisql.yaml's recipe there

The second prints what the reference's adapter answers; ours and the base's are what the recipe itself prints.
"""

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

import core
from core.trainer.answering import judge
from core.trainer.config import find_splits, read
from core.trainer.data import encode_rows
from core.trainer.reading import load_rows

MODEL = "SmolLM2-135M-Instruct"
RECIPE = Path(__file__).resolve().parents[1] / "assets" / "recipes" / "wikisql.yaml"
QUIET = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}


def losses(data: str, steps: int) -> None:
    """Loss, gradient norm and learning rate of every step, ours and theirs, from one adapter and in one order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = core.AutoTokenizer.from_pretrained(MODEL)
        core.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).save_pretrained(folder / "base")
        config = peft.LoraConfig(r=8, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "v_proj"])
        torch.manual_seed(0)
        base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
        peft.get_peft_model(base, config).save_pretrained(folder / "adapter")
        rows = encode_rows(tokenizer, load_rows(data), 256)
        histories = []
        for library, adapters in ((core, core), (transformers, peft)):
            model = library.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
            model = adapters.PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
            args = library.TrainingArguments(
                output_dir=name, max_steps=steps, per_device_train_batch_size=4, learning_rate=1e-4, logging_steps=1, **QUIET
            )
            collate: Any = core.DataCollatorForSeq2Seq(tokenizer)
            trainer = library.Trainer(model=model, args=args, train_dataset=rows, data_collator=collate)
            trainer.train()
            histories.append([line for line in trainer.state.log_history if "grad_norm" in line])
    print("step  loss ours  theirs   norm ours  theirs   rate ours   theirs")
    for ours, theirs in zip(*histories, strict=True):
        pairs = [(ours[key], theirs[key]) for key in ("loss", "grad_norm", "learning_rate")]
        print(f"{ours['step']:4}", *(f"{a:10.6g} {b:10.6g}" for a, b in pairs))
    for key in ("loss", "grad_norm", "learning_rate"):
        furthest = max(abs(a[key] - b[key]) / max(1.0, abs(b[key])) for a, b in zip(*histories, strict=True))
        print(f"furthest apart, {key}: {furthest:.1e}")


def answered(data: str, epochs: float) -> None:
    """The recipe's LoRA trained by the reference, eight padded rows a step, and its exact match on the held-out rows."""
    recipe = read(RECIPE)
    tokenizer = core.AutoTokenizer.from_pretrained(MODEL)
    train, valid = find_splits(data)
    plain = load_rows(train)
    random.Random(42).shuffle(plain)
    rows = encode_rows(tokenizer, plain, recipe.max_length)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16).save_pretrained(folder / "base")
        model = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16)
        torch.manual_seed(42)
        model = peft.get_peft_model(model, peft.LoraConfig(**recipe.lora, task_type="CAUSAL_LM"))  # type: ignore[arg-type]
        chosen = {key: recipe.training[key] for key in ("learning_rate", "lr_scheduler_type")}
        warm = {"warmup_steps": recipe.training["warmup_ratio"]}  # a share, where it is below 1
        args = transformers.TrainingArguments(
            output_dir=name, num_train_epochs=epochs, per_device_train_batch_size=8, logging_steps=5, **chosen, **warm, **QUIET
        )
        collate: Any = core.DataCollatorForSeq2Seq(tokenizer)
        transformers.Trainer(model=model, args=args, train_dataset=rows, data_collator=collate).train()
        model.save_pretrained(folder / "adapter")
        ours = core.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16)
        held = load_rows(valid or train, split="valid")
        right = judge(core.PeftModel.from_pretrained(ours, folder / "adapter"), tokenizer, held)["exact_match"]
    print(f"peft + transformers: exact match {right:.2f} of {len(held)} rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("losses", "answers"))
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--epochs", type=float, default=1)
    given = parser.parse_args()
    losses(given.data, given.steps) if given.what == "losses" else answered(given.data, given.epochs)
