"""Pipelines of images and audio against the reference's, on random models through saved files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pipeline_pairs import same
from rows.senses import CLIP, STABLE, VIT, WAV2VEC2
from rows.seq2seq import BART
from support import Row, make_reference
from test_processing import clip, picture
from tokenizer_folders import END, files_of, write

import core
from core.errors import VitrineError

PICTURES = [picture(40, 30), picture(12, 50, seed=1), picture(200, 90, "L", seed=2)]
CLIPS = [clip(0.9), clip(0.5, seed=1), clip(1.7, seed=2)]
FIVE = {str(i): name for i, name in enumerate(("cat", "dog", "owl", "fox", "bee"))}


def saved(row: Row, folder: Path, *parts: Any) -> Any:
    """The reference's model, saved with its parts."""
    model = make_reference(row)
    for part in (model, *parts):
        part.save_pretrained(folder)
    return model


def vit(head: str, folder: Path, **values: Any) -> tuple[Any, Any]:
    """The reference's model, and its image processor in Pillow."""
    processor = transformers.ViTImageProcessorPil(size={"height": 12, "width": 12})
    return saved(Row("vit", head, "", VIT | values), folder, processor), processor


@pytest.mark.parametrize(
    "values", [{"id2label": FIVE}, {"num_labels": 1}, {"num_labels": 3, "problem_type": "multi_label_classification"}]
)
def test_image_classification(values: dict, tmp_path: Path) -> None:
    model, processor = vit("ImageClassification", tmp_path, **values)
    reference = transformers.pipeline("image-classification", model=model, image_processor=processor, device="cpu")
    ours = core.pipeline("image-classification", model=tmp_path)
    for pictures in (PICTURES[0], PICTURES[:2]):
        for options in ({}, {"top_k": 2}, {"function_to_apply": "none"}, {"function_to_apply": "sigmoid", "top_k": 1}):
            same(ours(pictures, **options), reference(pictures, **options))
    same(ours(PICTURES[:2], batch_size=2), reference(PICTURES[:2]))
    PICTURES[1].save(tmp_path / "one.png")
    same(ours(str(tmp_path / "one.png")), reference(PICTURES[1]))
    same(ours((tmp_path / "one.png").read_bytes()), reference(PICTURES[1]))


def test_image_features(tmp_path: Path) -> None:
    model, processor = vit("Model", tmp_path)
    reference = transformers.pipeline("image-feature-extraction", model=model, image_processor=processor, device="cpu")
    ours = core.pipeline("image-feature-extraction", model=tmp_path)
    for options in ({}, {"pool": True}):
        same(ours(PICTURES[0], **options), reference(PICTURES[0], **options))
        same(ours(PICTURES[:2], batch_size=2, **options), reference(PICTURES[:2], **options))
    assert torch.allclose(ours(PICTURES[0], return_tensors=True), reference(PICTURES[0], return_tensors=True), atol=1e-5)


def test_zero_shot_images(tmp_path: Path) -> None:
    write(tmp_path / "files", **files_of("CLIPTokenizer"))
    tokenizer = core.AutoTokenizer.from_pretrained(tmp_path / "files", model_max_length=40, pad_token="<|endoftext|>")
    tokenizer.save_pretrained(tmp_path)
    text = CLIP["text_config"] | {
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "max_position_embeddings": 40,
    }
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 12}, crop_size=12)
    model = saved(Row("clip", "ZeroShotImageClassification", "", CLIP | {"text_config": text}), tmp_path, processor)
    reference = transformers.pipeline(
        "zero-shot-image-classification",
        model=model,
        image_processor=processor,
        tokenizer=transformers.AutoTokenizer.from_pretrained(tmp_path),
        device="cpu",
    )
    ours = core.pipeline("zero-shot-image-classification", model=tmp_path)
    labels = ["a cat", "two dogs", "the river in the town"]
    for options in ({}, {"hypothesis_template": "{}, drawn"}):
        same(ours(PICTURES[0], candidate_labels=labels, **options), reference(PICTURES[0], candidate_labels=labels, **options))
        same(ours(PICTURES[:2], labels, batch_size=2, **options), reference(PICTURES[:2], candidate_labels=labels, **options))


@pytest.mark.parametrize("values", [WAV2VEC2, STABLE, WAV2VEC2 | {"problem_type": "multi_label_classification"}])
def test_audio_classification(values: dict, tmp_path: Path) -> None:
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=values is STABLE)
    model = saved(Row("wav2vec2", "AudioClassification", "", values | {"id2label": FIVE}), tmp_path, extractor)
    reference = transformers.pipeline("audio-classification", model=model, feature_extractor=extractor, device="cpu")
    ours = core.pipeline("audio-classification", model=tmp_path)
    for clips in (CLIPS[0], CLIPS):
        for options in ({}, {"top_k": 2}, {"top_k": None}, {"function_to_apply": "sigmoid"}, {"function_to_apply": "none"}):
            same(ours(clips, **options), reference(clips, **options))
    same(ours(CLIPS, batch_size=3), reference(CLIPS))
    same(ours({"raw": CLIPS[1], "sampling_rate": 16000}), reference({"raw": CLIPS[1], "sampling_rate": 16000}))


@pytest.mark.parametrize("values", [WAV2VEC2, STABLE], ids=["group", "layer"])
def test_ctc(values: dict, tmp_path: Path) -> None:
    write(tmp_path, **files_of("Wav2Vec2CTCTokenizer"))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=values is STABLE)
    model = saved(Row("wav2vec2", "CTC", "", values | {"vocab_size": len(tokenizer)}), tmp_path, extractor, tokenizer)
    reference = transformers.pipeline(
        "automatic-speech-recognition", model=model, tokenizer=tokenizer, feature_extractor=extractor, device="cpu"
    )
    ours = core.pipeline("automatic-speech-recognition", model=tmp_path)
    for options in ({}, {"return_timestamps": "char"}, {"return_timestamps": "word"}):
        for chunks in ({}, {"chunk_length_s": 0.5}, {"chunk_length_s": 0.6, "stride_length_s": (0.2, 0.1)}):
            same(ours(CLIPS[2], **options, **chunks), reference(CLIPS[2], **options, **chunks), str((options, chunks)))
        same(ours(CLIPS, batch_size=3, **options), reference(CLIPS, **options))
    with pytest.raises(VitrineError, match="word"):
        ours(CLIPS[0], return_timestamps=True)


@pytest.fixture(scope="module")
def whispers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A random Whisper of several languages, whose window is two seconds."""
    folder = tmp_path_factory.mktemp("whisper")
    files = files_of("WhisperTokenizer")
    plain = [token for token in files["vocab__json"] if token != END]  # the end stands behind the text's tokens, as published
    files["vocab__json"] = {token: i for i, token in enumerate([*plain, END])}
    write(folder / "files", **files)
    tokenizer = core.AutoTokenizer.from_pretrained(folder / "files")
    tokenizer.save_pretrained(folder)
    extractor = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in tokenizer.get_vocab() if name.startswith("<|")}
    sizes = {key: value for key, value in BART.items() if key not in ("max_position_embeddings", "num_labels")}
    values = sizes | {"vocab_size": len(tokenizer), "num_mel_bins": 20, "max_source_positions": 100, "max_target_positions": 60}
    end = ids["<|endoftext|>"]
    values |= {
        "pad_token_id": end,
        "bos_token_id": end,
        "eos_token_id": end,
        "suppress_tokens": None,
        "begin_suppress_tokens": [end],
    }
    values |= {"decoder_start_token_id": ids["<|startoftranscript|>"], "median_filter_width": 3}
    model = make_reference(Row("whisper", "SpeechSeq2Seq", "", values))
    config = model.generation_config
    config.no_timestamps_token_id = ids["<|notimestamps|>"]
    config.is_multilingual = True
    config.lang_to_id = {name: number for name, number in ids.items() if len(name) == 6}
    config.task_to_id = {"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]}
    config.alignment_heads = [[0, 1], [1, 0], [1, 3]]
    config.max_initial_timestamp_index = 40
    config.max_length, config.task = 60, "transcribe"
    for part in (model, extractor):
        part.save_pretrained(folder)
    made = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.pipeline(
        "automatic-speech-recognition", model=model, tokenizer=made, feature_extractor=extractor, device="cpu"
    )
    return reference, core.pipeline("automatic-speech-recognition", model=folder)


@pytest.mark.parametrize("times", [None, True, "word"])
@pytest.mark.parametrize("chunks", [{}, {"chunk_length_s": 2}, {"chunk_length_s": 1.5, "stride_length_s": (0.4, 0.3)}], ids=str)
@pytest.mark.parametrize("seconds", [1.3, 6.7])
def test_random_whisper(whispers: tuple[Any, Any], seconds: float, chunks: dict, times: Any) -> None:
    """Text that means nothing, and so every branch of what becomes of its times."""
    reference, ours = whispers
    for seed in range(2):
        wave = clip(seconds, seed=seed) + np.sin(np.arange(int(seconds * 16000)) / (20 + 7 * seed)).astype(np.float32) * 0.1
        for more in ({}, {"language": "fr", "task": "translate"}):
            generate = {"num_beams": 1, "max_new_tokens": 24, **more}
            options = {"return_timestamps": times, "generate_kwargs": generate, **chunks}
            same(ours(wave, **options), reference(wave, **options), str((seed, more)))
