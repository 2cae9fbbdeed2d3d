"""One of torchrun's processes: `distributed_child.py FOLDER BATCH KIND [what] [fsdp]`. It trains a tiny model; the first process writes its losses.
KIND: `words` a LoRA, `whole` the whole model with tied tables, `classes` a classifier. what: `die` ends the second process at step 4, `resume` goes on from
the last checkpoint, `full_shard` spreads the weights."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

import core
from core.errors import VitrineError
from core.trainer import distributed


class Die(core.TrainerCallback):
    """The second process falls over."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3 and distributed.world()[0] == 1:
            os._exit(9)


class Held(core.TrainerCallback):
    """Which share of the weights the first process holds between two steps."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        own = [(getattr(p, "_local_tensor", p).numel(), p.numel()) for p in kwargs["model"].parameters()]
        if distributed.world()[0] == 0:
            held, every = (sum(counts) for counts in zip(*own, strict=True))
            Path(args.output_dir, "held").write_text(str(held / every))


def rows(kind: str) -> list[dict[str, Any]]:
    torch.manual_seed(4)
    found = []
    for i in range(21):
        ids = torch.randint(5, 99, (9,))
        labels = ids.masked_fill(torch.arange(9) < i % 5, -100)
        found.append({"input_ids": ids, "labels": torch.tensor(i % 3) if kind == "classes" else labels})
    return found


def main(folder: Path, batch: int, kind: str, what: list[str]) -> None:
    sizes = {"vocab_size": 99, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    if kind == "classes":
        model: Any = core.LlamaForSequenceClassification(core.LlamaConfig(**sizes, num_labels=3, pad_token_id=3))
    else:
        model = core.LlamaForCausalLM(core.LlamaConfig(**sizes, tie_word_embeddings=True))
        if kind == "words":
            model = core.get_peft_model(model, core.LoraConfig(r=2))
    args = core.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=2,
        gradient_accumulation_steps=1 if kind == "classes" else 2,
        num_train_epochs=3,
        learning_rate=1e-2 if kind == "words" else 1e-3,
        fsdp="full_shard" if "full_shard" in what else None,
        logging_steps=1,
        save_steps=2,
        save_total_limit=2,
        ddp_timeout=60,
        use_cpu=True,
    )
    data = rows(kind)
    metrics = {"compute_metrics": lambda found: {"rows": len(found.label_ids), "sum": float(found.label_ids.sum())}}
    trainer = core.Trainer(
        model, args, train_dataset=data, eval_dataset=data[:7], callbacks=[Held(), *([Die()] if "die" in what else [])], **metrics
    )
    trainer.train(resume_from_checkpoint="resume" in what)
    evaluated = trainer.evaluate()
    trainer.save_model(folder / "end")
    if trainer.is_world_process_zero():
        history = [line for line in trainer.state.log_history if "grad_norm" in line]
        found = {
            "losses": [line["loss"] for line in history],
            "norms": [line["grad_norm"] for line in history],
            "evaluated": [evaluated[name] for name in ("eval_loss", "eval_rows", "eval_sum")],
        }
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    except VitrineError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(1)
    finally:
        distributed.leave()
