"""Clips and pictures from files: what is read, how well a clip is resampled, and one sentence for what is broken."""

import io
import json
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import core
from core.errors import MediaError, VitrineError
from core.processing import load_audio, load_image, resample


def sine(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 44_101, 96_000])
@pytest.mark.parametrize("share", [0.01, 0.4, 0.85])
def test_a_sine_stays_a_sine(rate: int, share: float) -> None:
    """At this share of the lower Nyquist frequency, away from the ends."""
    hertz = share * min(rate, 16_000) / 2
    made = resample(sine(hertz, rate), rate, 16_000)
    assert len(made) == -(-len(sine(hertz, rate)) * 16_000 // rate) and made.dtype == np.float32
    middle = slice(400, 7_600)
    assert np.abs(made[middle] - sine(hertz, 16_000)[middle]).max() < 1e-3


def test_what_is_too_high_goes() -> None:
    """Above the new Nyquist frequency nothing is left to fold back."""
    made = resample(sine(9_000, 48_000), 48_000, 16_000)
    assert np.abs(made[400:-400]).max() < 1e-4
    assert np.abs(resample(np.ones(9_000, np.float32), 44_100, 16_000)[200:-200] - 1).max() < 1e-5
    for length in (1, 2, 3, 160, 441):
        assert len(resample(np.ones(length, np.float32), 44_100, 16_000)) == -(-length * 160 // 441)


def test_files_and_forms(tmp_path: Path) -> None:
    clip = 0.5 * sine(440, 16_000)
    stereo = np.stack([clip, 0 * clip], axis=1)
    for kind, subtype, close in [("wav", "PCM_16", 1e-4), ("wav", "FLOAT", 0), ("flac", "PCM_24", 1e-6), ("ogg", "VORBIS", 0.05)]:
        file = tmp_path / f"clip.{kind}"
        soundfile.write(file, clip, 16_000, subtype=subtype)
        for given in (file, str(file), file.read_bytes(), {"path": str(file)}, {"bytes": file.read_bytes()}):
            assert np.abs(load_audio(given) - clip).max() <= close
        soundfile.write(file, stereo, 16_000, subtype=subtype)
        assert np.abs(load_audio(file) - clip / 2).max() <= close
    pcm = (clip * 32_767).astype(np.int16)
    for given in (clip, clip.tolist(), torch.from_numpy(clip), pcm, stereo * 2, stereo.T * 2, clip.astype(np.float64)):
        made = load_audio(given)
        assert made.dtype == np.float32 and np.abs(made - clip).max() < 1e-4
    high = {"array": 0.5 * sine(440, 44_100), "sampling_rate": 44_100}
    assert np.abs(load_audio(high)[400:-400] - clip[400:-400]).max() < 1e-3
    extractor = core.Wav2Vec2FeatureExtractor()
    soundfile.write(tmp_path / "high.wav", 0.5 * sine(440, 44_100), 44_100, subtype="FLOAT")
    whole = extractor(clip, return_tensors="pt").input_values
    for given in (high, {"raw": high["array"], "sampling_rate": 44_100}, tmp_path / "high.wav", [tmp_path / "high.wav"]):
        assert (extractor(given, return_tensors="pt").input_values - whole)[:, 400:-400].abs().max() < 4e-3


WHISPER, WAVES, VIT = core.WhisperFeatureExtractor(), core.Wav2Vec2FeatureExtractor(), core.ViTImageProcessor()
NAN = np.array([0.0, np.nan, 0.1])
FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "rate": (lambda: WHISPER(np.zeros(900), sampling_rate=44_100), r"takes audio at 16000 Hz, not 44100 Hz"),
    "no rate": (lambda: WAVES({"array": np.zeros(9)}), "needs its sampling_rate"),
    "bad rate": (lambda: WAVES({"array": np.zeros(9), "sampling_rate": -1}), "sampling rate of -1 Hz"),
    "rate of NaN": (lambda: WAVES({"array": np.zeros(9), "sampling_rate": float("nan")}), "sampling rate of nan"),
    "empty": (lambda: WHISPER(np.zeros(0)), "is empty"),
    "empty list": (lambda: WAVES([]), "no audio"),
    "empty row": (lambda: WAVES([[0.1, 0.2], []]), "is empty"),
    "NaN": (lambda: WHISPER(NAN), "NaN"),
    "text": (lambda: WAVES(["nowhere.wav"]), r"nowhere\.wav: there is no such sound file"),
    "object": (lambda: WAVES(object()), "no clip of audio"),
    "address": (lambda: WAVES("https://x.org/a.wav"), "download"),
    "cube": (lambda: WAVES(np.zeros((2, 3, 4))), r"\(2, 3, 4\)"),
    "stereo as batch": (lambda: WAVES(np.zeros((900, 2))), r"\(900, 2\)"),
    "uneven": (lambda: WAVES([np.zeros(5), np.zeros(6)], return_tensors="pt"), "differ in shape.*pad"),
    "uneven mel": (lambda: WHISPER([np.zeros(500), np.zeros(600)], padding=False), "differ in length"),
    "short": (lambda: WHISPER(np.zeros(150), padding="longest"), "too short"),
    "padding": (lambda: WAVES(np.zeros(5), padding="shortest"), "shortest"),
    "no length": (lambda: WAVES(np.zeros(5), padding="max_length"), "need max_length"),
    "nothing to pad": (lambda: WAVES.pad({"input_ids": [[1]]}), "needs its input_values"),
    "tensors": (lambda: WAVES(np.zeros(5), return_tensors="tf"), "'tf'"),
    "no sound": (lambda: load_audio(b"not a sound"), "no sound file"),
    "no image": (lambda: VIT(b"not an image"), "no image that can be opened"),
    "missing image": (lambda: VIT("nowhere.png"), r"nowhere\.png: there is no such image file"),
    "image address": (lambda: VIT("https://x.org/a.png"), "download"),
    "no images": (lambda: VIT([]), "no image"),
    "image of NaN": (lambda: VIT(np.full((3, 9, 9), np.nan)), "NaN"),
    "dark image": (lambda: VIT(np.full((3, 9, 9), -2.5)), "rescale"),
    "seven channels": (lambda: VIT(np.zeros((7, 9, 9))), r"\(7, 9, 9\)"),
    "line": (lambda: VIT(np.zeros(9)), r"\(9,\)"),
    "no pixels": (lambda: VIT(np.zeros((3, 0, 9))), r"\(3, 0, 9\)"),
    "grey": (lambda: VIT(Image.new("L", (9, 9))), "1 channels and the model takes 3"),
    "number": (lambda: VIT(5), "not int"),
    "sizes": (lambda: VIT([np.zeros((9, 9, 3)), np.zeros((9, 8, 3))], do_resize=False, return_tensors="pt"), "differ in shape"),
    "size": (lambda: core.ViTImageProcessor(size={"hight": 3}), "size is .*hight"),
    "huge": (lambda: core.ViTImageProcessor(size=10**9), "size is 1000000000"),
    "code": (lambda: core.ViTImageProcessor(resample=9), "resample is 9"),
    "std": (lambda: core.ViTImageProcessor(image_std=[0.5, 0, 0.5]), "image_std"),
    "mels": (lambda: core.WhisperFeatureExtractor(feature_size="80"), "feature_size is '80'"),
    "side": (lambda: core.Wav2Vec2FeatureExtractor(padding_side="up"), "padding_side is 'up'"),
    "nothing": (lambda: core.WhisperProcessor(WHISPER, None)(), "needs text"),
    "order": (lambda: core.WhisperProcessor(None, WHISPER), "feature_extractor first"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_sentence_for_what_is_wrong(fault: str) -> None:
    call, said = FAULTS[fault]
    with pytest.raises(VitrineError, match=said) as caught:
        call()
    assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_flood_is_refused(side: int, tmp_path: Path) -> None:
    """A small file that says it unfolds to more than can be used."""
    data = bytearray(_image("PNG"))
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "flood.png").write_bytes(data)
    with pytest.raises(MediaError, match=r"flood\.png has more than 80 million pixels"):
        load_image(tmp_path / "flood.png")


def _image(kind: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 37, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()


def _sound(kind: str, subtype: str) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, np.random.default_rng(0).normal(0, 0.1, (900, 2)), 16_000, format=kind, subtype=subtype)
    return data.getvalue()


def _settings() -> bytes:
    return json.dumps(core.CLIPImageProcessor(size=24, crop_size=20).to_dict(), indent=1).encode()


def _read_settings(data: bytes, folder: Path) -> None:
    (folder / "preprocessor_config.json").write_bytes(data)
    core.AutoImageProcessor.from_pretrained(folder)(np.zeros((30, 31, 3), np.uint8))


def _read_whisper(data: bytes, folder: Path) -> None:
    (folder / "preprocessor_config.json").write_bytes(data)
    core.AutoFeatureExtractor.from_pretrained(folder)


BROKEN: dict[str, tuple[Callable[[], bytes], Callable[[bytes, Path], Any]]] = {
    "png": (lambda: _image("PNG"), lambda data, folder: VIT(data)),
    "jpeg": (lambda: _image("JPEG"), lambda data, folder: VIT(data)),
    "webp": (lambda: _image("WEBP"), lambda data, folder: VIT(data)),
    "gif": (lambda: _image("GIF"), lambda data, folder: VIT(data)),
    "tiff": (lambda: _image("TIFF", compression="tiff_lzw"), lambda data, folder: VIT(data)),
    "wav": (lambda: _sound("WAV", "PCM_16"), lambda data, folder: load_audio(data)),
    "float wav": (lambda: _sound("WAV", "FLOAT"), lambda data, folder: load_audio(data)),
    "flac": (lambda: _sound("FLAC", "PCM_16"), lambda data, folder: load_audio(data)),
    "ogg": (lambda: _sound("OGG", "VORBIS"), lambda data, folder: load_audio(data)),
    "image settings": (_settings, _read_settings),
    "audio settings": (lambda: json.dumps(WHISPER.to_dict()).encode(), _read_whisper),
}


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", BROKEN)
def test_mutations(kind: str, count: int, tmp_path: Path) -> None:
    """Cut or with bits turned, it still reads or is refused in one sentence."""
    make, read = BROKEN[kind]
    whole, chance, refused = make(), random.Random(0), 0
    read(whole, tmp_path)
    for _ in range(count):
        data = bytearray(whole)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        for _ in range(chance.randint(0, 4)):
            if data:
                data[chance.randrange(min(len(data), 600))] ^= 1 << chance.randrange(8)
        try:
            read(bytes(data), tmp_path)
        except VitrineError as error:
            refused += 1
            assert not re.search(r"[\n\x00-\x1f]", str(error)) and len(str(error)) < 700
    assert refused > count // 20
