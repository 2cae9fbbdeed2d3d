"""What went wrong in a step or an evaluation, as one sentence: what, where, and what to do."""

from typing import Any

import torch

from core.errors import TrainingError
from core.trainer.distributed import explained

MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory", "bad allocation")


def as_sentence(error: BaseException, where: str, inputs: Any, model: Any) -> TrainingError | None:
    """A known failure as our error; None for one that is not known. where: "step 3" or the like; inputs: the batch."""
    if (lost := explained(error)) is not None:
        return lost
    shape = next((tuple(v.shape) for v in inputs.values() if torch.is_tensor(v)), ()) if isinstance(inputs, dict) else ()
    size = f" with {' x '.join(map(str, shape))} (rows x tokens) in a batch" if shape else ""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in str(error) for word in MEMORY)):
        return TrainingError(
            f"The memory ran out at {where}{size}: lower per_device_train_batch_size and raise gradient_accumulation_steps, "
            "shorten the rows, or turn on gradient_checkpointing. Checkpoints so far are kept."
        )
    if isinstance(error, IndexError) and isinstance(inputs, dict) and torch.is_tensor(ids := inputs.get("input_ids")):
        config = getattr(model, "config", None)
        words, longest = getattr(config, "vocab_size", None), getattr(config, "max_position_embeddings", None)
        if words and int(ids.max()) >= words:
            return TrainingError(
                f"A row of {where} has the token id {int(ids.max())}, the model knows {words}: it was made by another tokenizer."
            )
        if longest and ids.shape[1] > longest:
            return TrainingError(
                f"A row of {where} has {ids.shape[1]} tokens, the model reads at most {longest}: cut the rows (truncation=True, "
                f"max_length={longest})."
            )
    return None
