"""Images and the captions that go with them. Radford et al. 2021."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from core.trainer.metrics import accuracy
from core.trainer.tasks.base import Rows
from core.trainer.tasks.media import ImageClassification

TEMPLATE = "This is a photo of {}."  # the pipeline's own


class ImageCaptions(ImageClassification):
    """Which of all captions an `image` has; a caption is made of its class (`label`). Few classes would make the batch's other captions
    false negatives, so that each image is compared with every class's caption once."""

    auto, processor = "AutoModelForZeroShotImageClassification", "AutoProcessor"

    def model_options(self) -> dict[str, Any]:
        """No head: the captions are the classes."""
        return {}

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """pixel_values (channels, height, width) and the class's number."""
        image = row["image"]
        if isinstance(image, np.ndarray) and image.ndim == 2:
            image = np.repeat(image[..., None], 3, -1)
        pixels = self.processing.image_processor(image, return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixels, "labels": self.number(row["label"])}

    def collator(self) -> Any:
        """Images stacked, beside the captions of all classes."""
        said = [TEMPLATE.format(label) for label in self.labels]
        captions = self.processing.tokenizer(said, padding=True, return_tensors="pt")

        def collate(rows: Rows) -> dict[str, torch.Tensor]:
            images = {
                "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
                "labels": torch.tensor([row["labels"] for row in rows]),
            }
            return images | {name: captions[name] for name in ("input_ids", "attention_mask")}

        collate.columns = ("labels",)  # type: ignore[attr-defined]
        return collate

    def make_trainer(self, model: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
        """One that compares each image with the captions."""
        from core.trainer.trainer import Trainer

        def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
            total = F.cross_entropy(outputs["logits_per_image"], labels, reduction="sum")
            return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

        return Trainer(
            model,
            args,
            *rest,
            compute_metrics=self.measure,
            compute_loss_func=loss,
            preprocess_logits_for_metrics=lambda found, labels: found[0],
            **kwargs,
        )

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Share of images whose nearest caption is theirs."""
        return {"accuracy": accuracy(found.predictions, found.label_ids)}
