"""Classes of images and of clips, and speech written down."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from core.errors import DataError
from core.processing.audio import load_audio
from core.trainer.evaluation import FILL
from core.trainer.metrics import accuracy, word_error_rate
from core.trainer.tasks.base import Encoded, Rows, Task, text_of
from core.trainer.tasks.labels import Labelled, classes


class _LabelledMedia(Labelled):
    """One class (`label`) a row."""

    def learn(self, rows: Rows) -> Rows:
        """The classes."""
        rows = self.renamed(rows)
        self.labels = classes([str(row["label"]) for row in rows], self.config.labels)
        return rows

    def model_options(self) -> dict[str, Any]:
        """The classes; a head of another number of them is made new."""
        return {**super().model_options(), "ignore_mismatched_sizes": True}


class ImageClassification(_LabelledMedia):
    """The class (`label`) of an `image`: an array, or a path from the data file's folder."""

    auto, processor, reads = "AutoModelForImageClassification", "AutoImageProcessor", ("image", "label")

    def encode(self, rows: Rows, training: bool) -> Any:
        """Images are read when they are asked for."""
        return Encoded(rows, self.encode_row)

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """pixel_values (channels, height, width)."""
        image = row["image"]
        if isinstance(image, np.ndarray) and image.ndim == 2:
            image = np.repeat(image[..., None], 3, -1)
        source = image if isinstance(image, np.ndarray) else str(self.config.folder / Path(image))
        return {
            "pixel_values": self.processing(source, return_tensors="pt")["pixel_values"][0],
            "labels": self.number(row["label"]),
        }

    def collator(self) -> Any:
        """Stacked."""
        from core.trainer.collators import default_data_collator

        return default_data_collator

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Share of right classes."""
        return {"accuracy": accuracy(found.predictions, found.label_ids)}


class AudioClassification(_LabelledMedia):
    """The class (`label`) of a clip (`audio`: a path from the data file's folder)."""

    auto, processor, reads = "AutoModelForAudioClassification", "AutoFeatureExtractor", ("audio", "label")

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """What the extractor makes of the clip, and its class."""
        samples = load_audio(str(self.config.folder / Path(row["audio"])), self.processing.sampling_rate)
        made = self.processing(samples, sampling_rate=self.processing.sampling_rate)
        name = self.processing.model_input_names[0]
        return {name: np.asarray(made[name][0]), "labels": self.number(row["label"])}

    def collator(self) -> Any:
        """Spectrograms stacked; waves padded with silence."""
        name = self.processing.model_input_names[0]
        return lambda rows: waves(rows, name) | {"labels": torch.tensor([row["labels"] for row in rows])}

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Share of right classes."""
        return {"accuracy": accuracy(found.predictions, found.label_ids)}


class Speech(Task):
    """What is said (`text`) in a clip (`audio`: a path from the data file's folder)."""

    processor, reads = "AutoProcessor", ("audio", "text")

    def encode(self, rows: Rows, training: bool) -> Any:
        """Clips are read when they are asked for."""
        if not training:
            self.judged = [row["text"] for row in rows]
        return Encoded(rows, self.encode_row)

    def clip(self, row: dict[str, Any]) -> Any:
        """Its samples at the processor's rate, as the model takes them."""
        rate = self.processing.feature_extractor.sampling_rate
        samples = load_audio(str(self.config.folder / Path(row["audio"])), rate)
        return self.processing(audio=samples, sampling_rate=rate)

    def errors(self, texts: list[str]) -> dict[str, float]:
        """Share of wrong words."""
        return {"wer": word_error_rate(texts, self.judged)}


class CTC(Speech):
    """A letter a frame. Graves et al. 2006."""

    auto = "AutoModelForCTC"

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """input_values and the letters' ids."""
        letters = self.processing.tokenizer(text_of(row, "text"))["input_ids"]
        return {"input_values": np.asarray(self.clip(row)["input_values"][0]), "labels": letters}

    def collator(self) -> Any:
        """Clips and letters, each padded for itself."""
        return SpeechCollator(self.processing, "input_values")

    def make_trainer(self, *args: Any, **kwargs: Any) -> Any:
        """One that reads nothing out of the silence behind a clip."""
        from core.trainer.ctc import CTCTrainer

        return CTCTrainer(*args, compute_metrics=self.measure, **kwargs)

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Word errors of the likeliest letters; a frame that was filled up is a blank."""
        logits = found.predictions
        ids = np.where(logits.max(-1) == FILL, self.processing.tokenizer.pad_token_id, logits.argmax(-1))
        return self.errors(self.processing.batch_decode(ids))


class SpeechSeq2Seq(Speech):
    """Whisper: the text written from the sound."""

    auto, peft_type, writes = "AutoModelForSpeechSeq2Seq", "SEQ_2_SEQ_LM", True

    def encode_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """input_features, and the text's ids with the tokens that begin and end it."""
        ids = self.processing.tokenizer(text_of(row, "text"))["input_ids"]
        if ids[:1] == [self.model.config.decoder_start_token_id]:
            ids = ids[1:]  # the decoder puts it there
        longest = getattr(self.model.config, "max_target_positions", len(ids))
        if len(ids) > longest:
            raise DataError(
                f"its text has {len(ids)} tokens, {self.config.model} writes at most {longest}: leave it out or cut clip and text."
            )
        return {"input_features": np.asarray(self.clip(row)["input_features"][0]), "labels": ids}

    def collator(self) -> Any:
        """Clips stacked, texts padded."""
        return SpeechCollator(self.processing, "input_features")

    def make_trainer(self, model: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
        """One that judges written texts."""
        from core.trainer.seq2seq import Seq2SeqTrainer

        args.predict_with_generate, args.generation_max_length, args.generation_num_beams = True, self.config.max_length, 1
        return Seq2SeqTrainer(model, args, *rest, compute_metrics=self.measure, **kwargs)

    def measure(self, found: Any) -> dict[str, float]:  # type: ignore[override]
        """Word errors of what was written."""
        pad = self.processing.tokenizer.pad_token_id or 0
        ids = np.where(found.predictions < 0, pad, found.predictions)
        return self.errors(self.processing.batch_decode(ids, skip_special_tokens=True))


class SpeechCollator:
    """Clips to the longest's length with silence, labels with -100."""

    def __init__(self, processing: Any, name: str) -> None:
        self.processing, self.name = processing, name

    def __call__(self, rows: Rows) -> dict[str, torch.Tensor]:
        """A batch."""
        longest = max(len(row["labels"]) for row in rows)
        labels = torch.tensor([list(row["labels"]) + [-100] * (longest - len(row["labels"])) for row in rows])
        return waves(rows, self.name) | {"labels": labels}


def waves(rows: Rows, name: str) -> dict[str, torch.Tensor]:
    """Clips stacked, the shorter with silence behind; attention_mask where waves of different lengths were padded."""
    clips = [torch.as_tensor(row[name], dtype=torch.float32) for row in rows]
    length = max(clip.shape[-1] for clip in clips)
    batch = {name: torch.stack([F.pad(clip, (0, length - clip.shape[-1])) for clip in clips])}
    if name == "input_values" and any(clip.shape[-1] < length for clip in clips):
        batch["attention_mask"] = torch.stack([(torch.arange(length) < clip.shape[-1]).long() for clip in clips])
    return batch
