"""Audio as numbers: a file, bytes, an array or a dictionary -> one channel of float32 samples at the rate a model wants."""

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import MediaError, one_line, printable
from core.processing.settings import is_number

RATES = (1_000, 768_000)
MOST_SECONDS = 4 * 3600
ZEROS, ROLLOFF, BETA = 64, 0.95, 10.06  # of the resampling filter: side lobes, cutoff, and a Kaiser window for 100 dB
PCM = {"int16": (0, 2**15), "int32": (0, 2**31), "uint8": (128, 2**7)}  # a whole number's silence and full scale


def load_audio(clip: Any, sampling_rate: int = 16_000) -> np.ndarray:
    """A clip -> (samples,) float32 at `sampling_rate` Hz; several channels are averaged.

    A clip is a path or bytes of a sound file (WAV, FLAC, OGG, MP3, AIFF), a dictionary {"array" or "raw": samples,
    "sampling_rate": Hz} or of {"path"} or {"bytes"}, or samples that are at the rate already. Samples are an array, tensor or
    list of floats or PCM integers; in two dimensions, the shorter is the channels. Raises MediaError naming the fault.
    """
    name, rate = "The clip", sampling_rate
    if isinstance(clip, dict):
        samples = next((clip[key] for key in ("array", "raw", "bytes", "path") if clip.get(key) is not None), None)
        if samples is None:
            raise MediaError('A clip given as a dictionary needs "array" or "raw" with "sampling_rate", or "path" or "bytes".')
        if not isinstance(samples, str | os.PathLike | bytes) and (rate := clip.get("sampling_rate")) is None:
            raise MediaError("A clip given as a dictionary of samples needs its sampling_rate.")
        clip = samples
    if isinstance(clip, bytes | bytearray | memoryview):
        clip, rate = _read(io.BytesIO(clip), name)
    elif isinstance(clip, str | os.PathLike):
        name = printable(str(clip))
        clip, rate = _read_file(name, Path(clip).expanduser())
    samples = to_samples(clip, name)
    if not is_number(rate) or not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"{name} has a sampling rate of {rate!r} Hz; it must be from {RATES[0]} to {RATES[1]} Hz.")
    if len(samples) > MOST_SECONDS * rate:
        raise MediaError(
            f"{name} lasts {len(samples) / rate / 3600:.1f} hours; at most {MOST_SECONDS // 3600} can be used: cut it."
        )
    return resample(samples, int(rate), sampling_rate)


def to_samples(clip: Any, name: str = "The clip") -> np.ndarray:
    """An array, tensor or list of samples -> (samples,) float32 from -1 to 1, channels averaged."""
    try:
        samples = clip.numpy(force=True) if isinstance(clip, torch.Tensor) else np.asarray(clip)
    except (TypeError, ValueError):
        raise MediaError(f"{name} is no clip of audio: its rows differ in length.") from None
    if samples.dtype.kind not in "iuf" and samples.size:
        raise MediaError(f"{name} is no clip of audio: give a path, bytes, samples, or a dictionary of array and sampling_rate.")
    if samples.ndim not in (1, 2):
        raise MediaError(f"{name} has the shape {samples.shape}; audio is (samples,), or two dimensions with the channels.")
    middle, full = PCM.get(samples.dtype.name, (0, 1)) if isinstance(clip, np.ndarray | torch.Tensor) else (0, 1)
    samples = samples.astype(np.float32)
    if full > 1:
        samples = (samples - middle) / full
    if samples.ndim == 2:
        samples = samples.mean(axis=int(samples.shape[0] > samples.shape[1]))
    if not samples.size:
        raise MediaError(f"{name} is empty: it has no samples.")
    if not np.isfinite(samples).all():
        raise MediaError(f"{name} holds NaN or infinite samples.")
    return samples


def _read_file(name: str, path: Path) -> tuple[np.ndarray, int]:
    if name.startswith(("http://", "https://")):
        raise MediaError(f"{name} is an address: download the clip and give its path or its bytes.")
    if not path.is_file():
        raise MediaError(f"{name}: there is no such sound file.")
    with open(path, "rb", buffering=0) as file:
        return _read(io.BytesIO(file.read()), name)


def _read(file: io.BytesIO, name: str) -> tuple[np.ndarray, int]:
    """(samples,) of all channels averaged, and the rate; block by block, since a header may claim any length."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            blocks, count = [], 0
            while len(block := sound.read(1 << 16, dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1))
                count += len(block)
                if count > MOST_SECONDS * sound.samplerate:
                    break
            return np.concatenate([*blocks, np.empty(0, np.float32)]), sound.samplerate
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise MediaError(f"{name} is no sound file that can be read (WAV, FLAC, OGG, MP3, AIFF): {one_line(error)}.") from error


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """(samples,) at `rate` Hz -> (ceil(samples × wanted / rate),) at `wanted` Hz.

    Polyphase low-pass filtering with a Kaiser-windowed sinc (Smith, "Digital Audio Resampling"): flat up to 90 % of the lower
    Nyquist frequency, 100 dB down above it. Written here, since it is short and SciPy would be a large dependency for it alone.
    """
    if rate == wanted:
        return samples
    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    cutoff = ROLLOFF * min(1.0, up / down)
    half = math.ceil(ZEROS / cutoff)
    count = -(-len(samples) * up // down)
    padded = np.pad(samples, (half, half + down))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half)
    out = np.empty(count, np.float32)
    phases = np.arange(min(up, count))  # outputs phase, phase + up, … lie equally between their input samples
    for block in np.split(phases, range(256, len(phases), 256)):
        start, between = np.divmod(block * down, up)
        distance = np.arange(1 - half, half + 1) - between[:, None] / up
        taps = np.sinc(cutoff * distance) * np.i0(BETA * np.sqrt(np.maximum(0, 1 - (distance / half) ** 2)))
        taps = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
        for phase, first, row in zip(block, start + 1, taps, strict=True):
            out[phase::up] = windows[first::down][: -(-(count - phase) // up)] @ row
    return out
