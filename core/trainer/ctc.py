"""A Trainer for models that say a letter a frame."""

from typing import Any

import torch

from core.trainer.evaluation import FILL
from core.trainer.trainer import Trainer


class CTCTrainer(Trainer):
    """Its predictions have FILL where a clip has ended: the silence that fills up a batch says nothing."""

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Any, Any, Any]:
        """Loss, logits (batch, frames, vocabulary), labels."""
        loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        mask = inputs.get("attention_mask")
        if torch.is_tensor(logits) and mask is not None:
            frames = self._base.config.frames(mask.sum(-1), adapter=True).to(logits.device)
            after = torch.arange(logits.shape[1], device=logits.device) >= frames[:, None]
            logits = logits.masked_fill(after[..., None], FILL)
        return loss, logits, labels
