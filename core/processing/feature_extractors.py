"""Feature extractors: clips of audio -> log-mel spectrograms or waves of even length."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from core.errors import MediaError
from core.processing.audio import RATES, load_audio
from core.processing.batch import BatchFeature
from core.processing.settings import Preprocessor

BLOCK = 6000  # frames of a spectrogram that are computed at a time


class FeatureExtractor(Preprocessor):
    """Batches of clips, cut and padded."""

    part = "feature_extractor"
    defaults = {
        "feature_size": 1,
        "sampling_rate": 16_000,
        "padding_value": 0.0,
        "padding_side": "right",
        "return_attention_mask": False,
    }
    ranges = {"feature_size": (1, 1024), "sampling_rate": RATES, "padding_value": (-1e9, 1e9)}

    feature_size: int
    sampling_rate: int
    padding_value: float
    padding_side: str
    return_attention_mask: bool

    def check(self) -> None:
        """Raise ConfigError where a setting makes no sense."""
        super().check()
        if self.padding_side not in ("left", "right"):
            raise self.fault("padding_side", self.padding_side, "left or right")

    def clips(self, audio: Any, sampling_rate: int | None) -> list[np.ndarray]:
        """One clip or a batch -> (samples,) each; bare samples must be at the model's rate, all else is brought to it."""
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise MediaError(
                f"The model takes audio at {self.sampling_rate} Hz, not {sampling_rate} Hz: resample it, or give "
                f'{{"array": samples, "sampling_rate": {sampling_rate}}} to have it resampled.'
            )
        if isinstance(audio, np.ndarray | torch.Tensor):
            if audio.ndim > 2 or (audio.ndim == 2 and audio.shape[1] <= 2 < audio.shape[0]):
                raise MediaError(f"A batch of clips is (batch, samples) of one channel each, not the shape {tuple(audio.shape)}.")
            batch = list(audio) if audio.ndim == 2 else [audio]
        elif isinstance(audio, list | tuple) and (not audio or not isinstance(audio[0], int | float | np.number)):
            batch = list(audio)
        else:
            batch = [audio]
        if not batch:
            raise MediaError("There is no audio to prepare.")
        return [load_audio(clip, self.sampling_rate) for clip in batch]

    def pad(
        self,
        features: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Rows of (length, …), as a dictionary of lists or a list of dictionaries, made even; their masks, where asked for.

        padding: True or "longest", "max_length", False. The mask is the row's own, or else 1 on what was there.
        """
        if padding not in (True, False, "longest", "max_length", "do_not_pad"):
            raise MediaError(f"padding must be True, 'longest', 'max_length' or False, not {padding!r}.")
        if max_length is None and (padding == "max_length" or truncation):
            raise MediaError("padding='max_length' and truncation=True need max_length.")
        name = self.model_input_names[0]
        columns = () if isinstance(features, list | tuple) else zip(*features.values(), strict=True)
        items = [dict(zip(features, values, strict=True)) for values in columns] or list(features)
        if not items or any(name not in item for item in items):
            raise MediaError(f"Every row to pad needs its {name}.")
        rows = [_array(item[name]) for item in items]
        masks = [np.asarray(item.get("attention_mask", np.ones(len(item[name]))), np.int32) for item in items]
        if max_length is not None and pad_to_multiple_of:
            max_length = -(-max_length // pad_to_multiple_of) * pad_to_multiple_of
        if truncation:
            rows, masks = ([row[:max_length] for row in group] for group in (rows, masks))
        length = max_length if padding == "max_length" and max_length else max(len(row) for row in rows)
        if pad_to_multiple_of:
            length = -(-length // pad_to_multiple_of) * pad_to_multiple_of
        if padding in (False, "do_not_pad"):
            length = 0
        data: dict[str, Any] = {name: [self._fill(row, length, self.padding_value) for row in rows]}
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            data["attention_mask"] = [self._fill(mask, length, 0) for mask in masks]
        return BatchFeature(data, None, return_tensors)

    def _fill(self, row: np.ndarray, length: int, value: float) -> np.ndarray:
        extra = max(0, length - len(row))
        sides = (0, extra) if self.padding_side == "right" else (extra, 0)
        return np.pad(row, [sides, *[(0, 0)] * (row.ndim - 1)], constant_values=value)


def _array(row: Any) -> np.ndarray:
    array = row.numpy(force=True) if isinstance(row, torch.Tensor) else np.asarray(row)
    return array.astype(np.float32)


def standardise(row: np.ndarray, mask: np.ndarray | None, padding_value: float) -> np.ndarray:
    """(samples,) at mean 0 and variance 1 over what the mask keeps; the rest is padding again."""
    heard = row if mask is None else row[mask == 1]
    row = (row - heard.mean()) / np.sqrt(heard.var() + 1e-7)
    return row if mask is None else np.where(mask == 1, row, np.float32(padding_value))


class Wav2Vec2FeatureExtractor(FeatureExtractor):
    """The wave itself, normalised (Baevski et al. 2020).

    Models with group norm were trained without a mask: theirs says return_attention_mask false, and padding then counts
    in the mean and variance.
    """

    model_input_names = ("input_values", "attention_mask")
    defaults = {**FeatureExtractor.defaults, "do_normalize": True}

    do_normalize: bool

    def __call__(
        self,
        raw_speech: Any,
        padding: bool | str = False,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Clips, as load_audio takes them -> input_values (batch, samples), and attention_mask where asked for."""
        clips = {"input_values": self.clips(raw_speech, sampling_rate)}
        batch = self.pad(clips, padding, max_length, truncation, pad_to_multiple_of, return_attention_mask)
        if self.do_normalize:
            masks = batch.get("attention_mask") or [None] * len(clips["input_values"])
            rows = zip(batch["input_values"], masks, strict=True)
            batch["input_values"] = [standardise(row, mask, self.padding_value) for row, mask in rows]
        return batch.convert_to_tensors(return_tensors)


class WhisperFeatureExtractor(FeatureExtractor):
    """Log-mel spectrograms of clips padded to 30 s (Radford et al. 2022, 2.2)."""

    model_input_names = ("input_features",)
    defaults = {
        **FeatureExtractor.defaults,
        "feature_size": 80,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "dither": 0.0,
    }
    ranges = {
        **FeatureExtractor.ranges,
        "hop_length": (1, 65_536),
        "chunk_length": (1, 3600),
        "n_fft": (2, 65_536),
        "dither": (0, 1),
    }
    derived = ("mel_filters", "n_samples", "nb_max_frames")

    hop_length: int
    chunk_length: int
    n_fft: int
    dither: float

    @property
    def n_samples(self) -> int:
        """The length a clip is padded to."""
        return self.chunk_length * self.sampling_rate

    @property
    def nb_max_frames(self) -> int:
        """The frames of such a clip."""
        return self.n_samples // self.hop_length

    @property
    def mel_filters(self) -> np.ndarray:
        """(frequencies, mels)."""
        return mel_filters(self.feature_size, self.n_fft, self.sampling_rate)

    def __call__(
        self,
        raw_speech: Any,
        truncation: bool = True,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        padding: bool | str = "max_length",
        max_length: int | None = None,
        sampling_rate: int | None = None,
        do_normalize: bool | None = None,
        device: Any = "cpu",
        **kwargs: Any,
    ) -> BatchFeature:
        """Clips, as load_audio takes them -> input_features (batch, mels, frames of hop_length samples).

        With padding="longest" and truncation=False, clips longer than 30 s are kept whole; the mask, where asked for, is
        (batch, frames).
        """
        clips = {"input_features": self.clips(raw_speech, sampling_rate)}
        batch = self.pad(clips, padding, max_length or self.n_samples, truncation, pad_to_multiple_of, True)
        masks, waves = batch.pop("attention_mask"), batch["input_features"]
        if do_normalize:
            waves = [standardise(wave, mask, self.padding_value) for wave, mask in zip(waves, masks, strict=True)]
        if len({len(wave) for wave in waves}) > 1:
            raise MediaError(
                "The clips differ in length and make no batch of spectrograms: use padding='max_length' or 'longest'."
            )
        if len(waves[0]) <= self.n_fft // 2:
            raise MediaError(
                f"A clip of {len(waves[0])} samples is too short for a window of {self.n_fft}: use padding='max_length'."
            )
        spectrogram = self._log_mel(torch.from_numpy(np.stack(waves)).to(device))
        batch["input_features"] = spectrogram.numpy(force=True)
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            batch["attention_mask"] = np.stack(masks)[:, :: self.hop_length][:, : spectrogram.shape[-1]]
        return batch.convert_to_tensors(return_tensors)

    def _log_mel(self, waves: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, mels, frames): decibels over ten, no more than 8 below the loudest, then near [-1, 1]."""
        if self.dither:
            waves = waves + self.dither * torch.randn_like(waves)
        window = torch.hann_window(self.n_fft, device=waves.device)
        filters = torch.from_numpy(self.mel_filters).to(waves)
        half = self.n_fft // 2
        frames = (waves.shape[-1] + 2 * half - self.n_fft) // self.hop_length
        waves = torch.nn.functional.pad(waves, (half, half), mode="reflect")
        levels = []
        for begin in range(0, frames, BLOCK):  # so that hours of sound need no more room than minutes
            end = min(begin + BLOCK, frames)
            part = waves[:, begin * self.hop_length : (end - 1) * self.hop_length + self.n_fft]
            stft = torch.stft(part, self.n_fft, self.hop_length, window=window, center=False, return_complex=True)
            levels.append((filters.T @ stft.abs().square().contiguous()).clamp(min=1e-10).log10())
        level = torch.cat(levels, -1)
        loudest = level.amax(dim=(-2, -1), keepdim=True)
        return (torch.maximum(level, loudest - 8.0) + 4.0) / 4.0


@lru_cache(maxsize=4)
def mel_filters(mels: int, n_fft: int, rate: int) -> np.ndarray:
    """(1 + n_fft // 2 frequencies, mels): triangles of equal area, evenly spaced up to 8 kHz on Slaney's scale.

    That scale is linear below 1 kHz, at 200/3 Hz a mel, and above it 27 mels are a factor of 6.4 (Slaney, Auditory Toolbox).
    """
    step = np.log(6.4) / 27.0
    points = np.linspace(0.0, 15.0 + np.log(8.0) / step, mels + 2)
    edges = np.where(points < 15.0, points * 200.0 / 3.0, 1000.0 * np.exp(step * (points - 15.0)))
    widths = np.diff(edges)
    distance = edges[None] - np.linspace(0, rate // 2, 1 + n_fft // 2)[:, None]
    rising, falling = -distance[:, :-2] / widths[:-1], distance[:, 2:] / widths[1:]
    return np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))
