"""Image processors, feature extractors and processors against the reference's Pillow ones: pixels, features, files both ways."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

import core
from core.errors import VitrineError

CLOSE = {"rtol": 0, "atol": 1e-4}
IMAGES = {
    "vit": (core.ViTImageProcessor, transformers.ViTImageProcessorPil),
    "clip": (core.CLIPImageProcessor, transformers.CLIPImageProcessorPil),
}
RATE = 16_000


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Something like a photograph: smooth colours, edges, and noise."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40
    planes = [127 + 90 * np.sin(x * (k + 1) + k) * np.cos(y * (2 - k / 3)) for k in range(4)]
    pixels = np.stack(planes, -1) + chance.normal(0, 12, (height, width, 4)) + 60 * (x[..., None] + y[..., None] > 4)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGBA").convert(mode)


def clip(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Something like speech: gliding harmonics that come and go, and noise."""
    t = np.arange(int(seconds * rate)) / rate
    voice = sum(np.sin(2 * np.pi * (110 + 20 * np.sin(t)) * k * t) / k for k in range(1, 12))
    noise = np.random.default_rng(seed).normal(0, 0.01, len(t))
    return (0.1 * voice * (np.sin(2 * np.pi * 1.7 * t) > -0.3) + noise).astype(np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": 37, "crop_size": 30},
        {"size": {"shortest_edge": 50}, "crop_size": {"height": 61, "width": 33}, "do_center_crop": True},
        {"size": {"shortest_edge": 45, "longest_edge": 60}, "do_center_crop": False},
        {"size": {"height": 29, "width": 53}, "resample": 0, "do_center_crop": False},
        {"size": {"max_height": 40, "max_width": 70}, "resample": 1, "do_center_crop": False},
        {"size": (31, 47), "resample": 3, "do_rescale": False, "do_center_crop": True, "crop_size": (40, 41)},
        {
            "do_resize": False,
            "do_center_crop": True,
            "crop_size": 80,
            "image_mean": [0.1, 0.2, 0.3],
            "image_std": [0.9, 0.8, 0.7],
        },
        {"do_resize": False, "do_center_crop": False, "rescale_factor": 1 / 127, "do_normalize": False},
        {"size": 20, "do_center_crop": False, "image_mean": 0.4, "image_std": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", IMAGES)
def test_pixels(kind: str, settings: dict[str, Any]) -> None:
    ours, reference = (cls(**settings) for cls in IMAGES[kind])
    for width, height in [(93, 61), (61, 93), (224, 224), (301, 77), (33, 35)]:
        image = picture(width, height)
        assert_same(ours(image, return_tensors="pt"), reference(image, return_tensors="pt"))


def assert_same(ours: Any, reference: Any) -> None:
    assert set(ours.keys()) == set(reference.keys())
    for key, value in reference.items():
        assert type(ours[key]) is type(value) and ours[key].dtype == value.dtype, key
        np.testing.assert_allclose(np.asarray(ours[key]), np.asarray(value), **CLOSE)


def inputs(image: Image.Image) -> dict[str, Any]:
    pixels = np.asarray(image)
    return {
        "rows": pixels,
        "channels first": pixels.transpose(2, 0, 1),
        "tensor": torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
        "fractions": (pixels / 255).astype(np.float32),
        "doubles": pixels / 255,
        "whole floats": pixels.astype(np.float64),
        "list": [image, np.asarray(image)],
        "batch": np.stack([pixels, pixels[::-1]]),
    }


@pytest.mark.parametrize("form", inputs(picture(4, 4)))
@pytest.mark.parametrize("kind", IMAGES)
def test_forms_of_input(kind: str, form: str) -> None:
    ours, reference = (cls(size={"height": 40, "width": 44}, do_center_crop=False) for cls in IMAGES[kind])
    given = inputs(picture(75, 51))[form]
    assert_same(ours(given, return_tensors="np"), reference(given, return_tensors="np"))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1", "CMYK"])
def test_modes_become_rgb(mode: str) -> None:
    image = picture(75, 51, "L" if mode == "LA" else mode).convert(mode)
    ours, reference = (cls(do_convert_rgb=True) for cls in IMAGES["vit"])
    assert_same(ours(image, return_tensors="pt"), reference(image, return_tensors="pt"))
    if mode in ("L", "RGBA"):
        array = np.atleast_3d(np.asarray(image))
        assert_same(ours(array, return_tensors="pt"), reference(array, return_tensors="pt"))
        if mode == "RGBA":
            assert_same(ours(array / 255, return_tensors="pt"), reference(array / 255, return_tensors="pt"))


def test_files(tmp_path: Path) -> None:
    """Paths and bytes, turned upright by what the camera noted."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / "turned.jpg"
    picture(90, 60).save(file, exif=exif)
    ours, reference = (cls() for cls in IMAGES["clip"])
    expected = reference([str(file)], return_tensors="pt")
    for given in (str(file), file, file.read_bytes(), [file]):
        assert_same(ours(given, return_tensors="pt"), expected)
    data = io.BytesIO()
    picture(50, 40, "RGBA").save(data, "PNG")
    (tmp_path / "clear.png").write_bytes(data.getvalue())
    assert_same(ours(data.getvalue(), return_tensors="pt"), reference([str(tmp_path / "clear.png")], return_tensors="pt"))


WHISPER = [
    {},
    {"feature_size": 128},
    {"n_fft": 256, "hop_length": 100, "chunk_length": 3, "padding_side": "left", "padding_value": 0.001},
    {"sampling_rate": 22_050, "feature_size": 40, "chunk_length": 2},
]


@pytest.mark.parametrize("settings", WHISPER, ids=str)
def test_log_mel(settings: dict[str, Any]) -> None:
    ours, reference = core.WhisperFeatureExtractor(**settings), transformers.WhisperFeatureExtractor(**settings)
    rate = ours.sampling_rate
    clips = [clip(1.2345, rate), clip(0.777, rate, 1), clip(3.3, rate, 2)]
    for options in (
        {},
        {"return_attention_mask": True},
        {"padding": "longest", "return_attention_mask": True},
        {"padding": "longest", "truncation": False, "pad_to_multiple_of": 777, "return_attention_mask": True},
        {"do_normalize": True, "max_length": 20_001, "return_attention_mask": True},
    ):
        if options.get("do_normalize") and settings.get("padding_side") == "left":
            continue  # the reference normalises by the wrong samples there
        common = {"sampling_rate": rate, "return_tensors": "pt", **options}
        assert_same(ours(clips, **common), reference(clips, **common))
    single = {"sampling_rate": rate, "return_tensors": "np"}
    assert_same(ours(clips[0].astype(np.float64), **single), reference(clips[0].astype(np.float64), **single))
    assert_same(ours(clips[1].tolist(), **single), reference(clips[1].tolist(), **single))
    assert np.allclose(ours.mel_filters, reference.mel_filters, atol=1e-8)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
def test_waves(normalise: bool, mask: bool, side: str) -> None:
    settings = {"do_normalize": normalise, "return_attention_mask": mask, "padding_side": side, "padding_value": 0.25}
    ours, reference = core.Wav2Vec2FeatureExtractor(**settings), transformers.Wav2Vec2FeatureExtractor(**settings)
    clips = [clip(0.333), clip(0.1777, seed=1), clip(0.5, seed=2)]
    for options in (
        {"padding": True},
        {"padding": "longest", "pad_to_multiple_of": 1000},
        {"padding": "max_length", "max_length": 4001, "truncation": True},
        {"padding": "max_length", "max_length": 4001, "truncation": True, "pad_to_multiple_of": 64},
    ):
        made = ours(clips, sampling_rate=RATE, return_tensors="pt", **options)
        if normalise and mask and side == "left":  # the reference normalises by the wrong samples there
            for row, kept in zip(made["input_values"], made["attention_mask"].bool(), strict=True):
                assert row[kept].mean().abs() < 1e-4 and (row[kept].std() - 1).abs() < 1e-3 and (row[~kept] == 0.25).all()
        else:
            assert_same(made, reference(clips, sampling_rate=RATE, return_tensors="pt", **options))
    rows, expected = ours(clips, sampling_rate=RATE), reference(clips, sampling_rate=RATE)
    assert set(rows) == set(expected)
    for a, b in zip(rows["input_values"], expected["input_values"], strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)
    batch = np.stack([clip(0.1), clip(0.1, seed=5)])
    common = {"sampling_rate": RATE, "return_tensors": "np"}
    assert_same(ours(batch, **common), reference(batch, **common))


def test_pad_of_features() -> None:
    """What collators call."""
    ours, reference = core.Wav2Vec2FeatureExtractor(), transformers.Wav2Vec2FeatureExtractor()
    rows = [{"input_values": clip(0.02)}, {"input_values": clip(0.03)}]
    common = {"padding": True, "return_tensors": "pt", "return_attention_mask": True}
    assert_same(ours.pad(rows, **common), reference.pad(rows, **common))
    masked = [{**row, "attention_mask": np.arange(len(row["input_values"]), dtype=np.int32) % 2} for row in rows]
    assert_same(ours.pad(masked, **common), reference.pad(masked, **common))
    columns = {"input_values": [row["input_values"] for row in rows]}
    assert_same(ours.pad(columns, **common), reference.pad(columns, **common))
    ours, reference = core.WhisperFeatureExtractor(), transformers.WhisperFeatureExtractor()
    rows = [{"input_features": np.random.default_rng(i).normal(size=(80, 30)).astype(np.float32)} for i in range(2)]
    assert_same(ours.pad(rows, return_tensors="pt"), reference.pad(rows, return_tensors="pt"))


SINGLE = {
    "vit": (core.ViTImageProcessor, transformers.ViTImageProcessorPil, {"size": {"height": 31, "width": 33}, "resample": 3}),
    "clip": (
        core.CLIPImageProcessor,
        transformers.CLIPImageProcessorPil,
        {"size": {"shortest_edge": 40}, "crop_size": {"height": 30, "width": 32}},
    ),
    "whisper": (core.WhisperFeatureExtractor, transformers.WhisperFeatureExtractor, {"feature_size": 24, "chunk_length": 2}),
    "wav2vec2": (
        core.Wav2Vec2FeatureExtractor,
        transformers.Wav2Vec2FeatureExtractor,
        {"return_attention_mask": True, "padding_value": 0.5},
    ),
}


def numbers(part: Any) -> Any:
    if "image" in type(part).__name__.lower():
        return part(picture(93, 61), return_tensors="pt")
    return part([clip(0.4), clip(0.2)], sampling_rate=RATE, padding="max_length", max_length=9001, return_tensors="pt")


def auto(library: Any, part: Any) -> Any:
    return library.AutoImageProcessor if "Image" in type(part).__name__ else library.AutoFeatureExtractor


@pytest.mark.parametrize("kind", SINGLE)
def test_files_both_ways(kind: str, tmp_path: Path) -> None:
    our_class, their_class, settings = SINGLE[kind]
    ours, theirs = our_class(**settings, unknown_key=[1, {"a": 2}]), their_class(**settings)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    assert_same(numbers(ours), numbers(auto(transformers, ours).from_pretrained(tmp_path / "ours")))
    for loaded in (auto(core, ours).from_pretrained(tmp_path / "theirs"), our_class.from_pretrained(tmp_path / "theirs")):
        assert type(loaded) is our_class
        assert_same(numbers(loaded), numbers(theirs))
    again = our_class.from_pretrained(tmp_path / "ours")
    assert again.to_dict() == ours.to_dict() and again.unknown_key == [1, {"a": 2}]


OLD = {  # as the first checkpoints were published
    "vit": {
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "ViTFeatureExtractor",
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
        "size": 36,
    },
    "clip": {
        "crop_size": 30,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48, 0.45, 0.4],
        "image_std": [0.26, 0.27, 0.28],
        "resample": 3,
        "size": 34,
    },
    "whisper": {
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80,
        "hop_length": 160,
        "mel_filters": [[0.0, 1.0]],
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16000,
    },
    "wav2vec2": {
        "do_normalize": True,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": 16000,
    },
}


@pytest.mark.parametrize("kind", OLD)
def test_old_dialects(kind: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(OLD[kind]))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    loaded = core.AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is SINGLE[kind][0]
    assert_same(numbers(loaded), numbers(SINGLE[kind][1].from_pretrained(tmp_path)))


PROCESSORS = {
    "whisper": (core.WhisperProcessor, transformers.WhisperProcessor),
    "wav2vec2": (core.Wav2Vec2Processor, transformers.Wav2Vec2Processor),
    "clip": (core.CLIPProcessor, transformers.CLIPProcessor),
}
WORDS = ["<pad>", "<unk>", "a", "cat", "dog", "photo", "of"]


def tokenizer_folder(folder: Path) -> Path:
    """A tokenizer of seven words."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    theirs.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", PROCESSORS)
def test_processors(kind: str, tmp_path: Path) -> None:
    our_class, their_class = PROCESSORS[kind]
    words = tokenizer_folder(tmp_path / "words")
    part, their_part, settings = SINGLE[kind]
    ours = our_class(part(**settings), core.AutoTokenizer.from_pretrained(words))
    theirs = their_class(their_part(**settings), transformers.AutoTokenizer.from_pretrained(words))
    texts = ["a photo of a cat", "a dog"]
    images, clips = [picture(93, 61), picture(50, 70)], [clip(0.4), clip(0.2)]
    media = {"images": images} if kind == "clip" else {"audio": clips, "sampling_rate": RATE}
    common = {"padding": True, "return_tensors": "pt"}
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    pairs = [
        (ours, theirs),
        (our_class.from_pretrained(tmp_path / "theirs"), theirs),
        (core.AutoProcessor.from_pretrained(tmp_path / "theirs"), theirs),
        (core.AutoProcessor.from_pretrained(tmp_path / "ours"), transformers.AutoProcessor.from_pretrained(tmp_path / "ours")),
    ]
    for a, b in pairs:
        assert type(a) is our_class and type(b) is their_class
        for inputs in ({"text": texts}, media, {"text": texts, **media}):
            made, expected = a(**inputs, **common), dict(b(**inputs, **common))
            expected.pop("token_type_ids", None)
            made = {key: value for key, value in made.items() if key != "token_type_ids"}
            assert_same(made, expected)
    ids = [[2, 5, 6, 2, 3], [2, 4]]
    assert ours.batch_decode(ids) == theirs.batch_decode(ids) == texts and ours.decode(ids[1]) == "a dog"
    if kind == "wav2vec2":
        rows = [{"input_values": row} for row in clips]
        labels = [{"input_ids": row} for row in ids]
        assert_same(ours.pad(rows, labels=labels, **common), theirs.pad(rows, labels=labels, **common))


def test_where_there_is_no_processor(tmp_path: Path) -> None:
    """AutoProcessor gives what a folder does have."""
    assert isinstance(core.AutoProcessor.from_pretrained(tokenizer_folder(tmp_path / "words")), core.PreTrainedTokenizer)
    core.ViTImageProcessor().save_pretrained(tmp_path / "vit")
    assert isinstance(core.AutoProcessor.from_pretrained(tmp_path / "vit"), core.ViTImageProcessor)
    with pytest.raises(VitrineError, match=r"words has no preprocessor_config\.json"):
        core.AutoImageProcessor.from_pretrained(tmp_path / "words")
    with pytest.raises(VitrineError, match="holds a ViTImageProcessor"):
        core.WhisperFeatureExtractor.from_pretrained(tmp_path / "vit")


def test_batch_feature_moves_and_casts() -> None:
    made = core.ViTImageProcessor(size=8)(picture(9, 9), return_tensors="pt")
    made["ids"] = torch.arange(3)
    made.to("cpu", torch.float16)
    assert made.pixel_values.dtype == torch.float16 and made["ids"].dtype == torch.int64
    assert made.to(torch.bfloat16).pixel_values.dtype == torch.bfloat16
