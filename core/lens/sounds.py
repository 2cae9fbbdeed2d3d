"""A recording through an encoder of sound and, where there is one, the decoder that writes it down."""

import math
from dataclasses import dataclass
from typing import Any

from core.errors import MediaError
from core.lens.inspection import Inspection, Stack, observe
from core.lens.pairs import look, written
from core.modeling.model import PreTrainedModel
from core.processing import load_audio

COLUMNS = 100  # groups of frames at the most; hundreds of frames are no picture


@dataclass
class Frames:
    """How an encoder's frames are joined: neighbours of the clip to at most COLUMNS groups, and all frames after its end to one.

    window: seconds that the frames cover; seconds: the clip's."""

    window: float
    seconds: float

    def __call__(self, count: int) -> list[int]:
        """Where each group begins."""
        sounding = min(count, max(1, math.ceil(count * self.seconds / self.window)))
        begins = list(range(0, sounding, math.ceil(sounding / COLUMNS)))
        return [*begins, sounding] if sounding < count else begins

    def names(self, count: int) -> list[str]:
        """The seconds at which each begins; the last, where the clip is over, is "after"."""
        begins = self(count)
        names = [f"{begin * self.window / count:.2f} s" for begin in begins]
        if begins[-1] >= count * self.seconds / self.window:
            names[-1] = "after"
        return names


def inspect_sound(model: PreTrainedModel, parts: dict[str, Any], clip: Any, top: int = 10) -> dict[str, Inspection]:
    """Send a recording, as `load_audio` takes it, through the model once, its first window where it is longer. `parts`: a feature_extractor
    and, of a model with a decoder, the tokenizer. -> Inspections "cross", "encoder" and "decoder", or "encoder" alone.

    Frames are joined to at most 100 places, and what follows the clip's end is one: rows still add up to 1. `cut` counts frames of
    the features (10 ms in Whisper) that are left out. Raises MediaError where the clip cannot be read.
    """
    extractor = parts["feature_extractor"]
    rate = extractor.sampling_rate
    samples = load_audio(clip, rate)
    longest = getattr(extractor, "n_samples", 30 * rate)
    kept = samples[:longest]
    if not len(kept):
        raise MediaError("The recording is empty: there is nothing to look into.")
    batch = extractor(kept, sampling_rate=rate, return_tensors="pt")
    name: str = model.main_input_name  # type: ignore[assignment]
    features = batch[name].to(model.device, model.dtype)
    window = longest if hasattr(extractor, "n_samples") else len(kept)
    frames = Frames(window / rate, len(kept) / rate)
    cut = (len(samples) - len(kept)) // getattr(extractor, "hop_length", 1)
    if model.can_generate():
        count = model.get_encoder().longest  # type: ignore[union-attr]
        read = written(model, {name: features})
        return look(model, parts["tokenizer"], {name: features}, read, frames.names(count), cut, frames, top)
    counted: list[int] = []

    def grouping(count: int) -> list[int]:
        counted.append(count)
        return frames(count)

    _, found = observe(
        model, {name: features}, {"encoder": Stack(model.config.num_hidden_layers, rows=grouping, columns=grouping)}
    )
    return {"encoder": Inspection(frames.names(counted[0]), cut, **found["encoder"])}
