"""Whisper's pipeline against the reference's: a random model for every branch, and real speech."""

from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pipeline_pairs import same
from rows.seq2seq import BART
from support import Row, make_reference
from test_processing import clip
from test_speech import CLIPS, words
from test_speech import clips as clips
from tokenizer_folders import END, files_of, write

import core
from core.processing import load_audio


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
    for seed in range(1 if chunks else 2):
        wave = clip(seconds, seed=seed) + np.sin(np.arange(int(seconds * 16000)) / (20 + 7 * seed)).astype(np.float32) * 0.1
        for more in ({}, {"language": "fr", "task": "translate"}):
            generate = {"num_beams": 1, "max_new_tokens": 24, **more}
            options = {"return_timestamps": times, "generate_kwargs": generate, **chunks}
            same(ours(wave, **options), reference(wave, **options), str((seed, more)))


def test_a_long_recording_is_stopped_between_windows(whispers: tuple[Any, Any]) -> None:
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(len(asked) >= 2)
        return asked[-1]

    assert list(whispers[1].run([clip(9)], max_new_tokens=1, cancelled=cancelled)) == []
    assert asked == [False, False, True, True]  # before the batch and the first window, at its step, before the second window


def test_real_speech(
    clips: dict[str, Path],
    whisper_tiny: Path,
    tmp_path: Path,
) -> None:
    """Whisper tiny.en on spoken words, 33 seconds of them: windows and chunks, times of segments and of words."""
    ours = core.pipeline("automatic-speech-recognition", model=whisper_tiny, dtype=torch.float32)
    for part in (ours.model, ours.feature_extractor, ours.tokenizer):
        part.save_pretrained(tmp_path)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path)
    config = model.generation_config
    config.no_timestamps_token_id, config.is_multilingual = ours.tokenizer.timestamp_begin - 1, False
    config.alignment_heads = [list(head) for head in ours.model.config.alignment_heads]
    reference = transformers.pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=transformers.AutoTokenizer.from_pretrained(tmp_path),
        feature_extractor=transformers.WhisperFeatureExtractor.from_pretrained(tmp_path),
        device="cpu",
    )
    waves = [load_audio(clips[number], 16000) for number in CLIPS]
    long = np.concatenate([*waves, *waves, waves[0]])
    generate = {"num_beams": 1, "max_new_tokens": 200}
    found = ours(long, return_timestamps="word", generate_kwargs=generate)
    spoken = " ".join([*CLIPS.values(), *CLIPS.values(), CLIPS["0870"]]).split()
    assert SequenceMatcher(None, words(found["text"]), spoken).ratio() > 0.95
    same(found, reference(long, return_timestamps="word", generate_kwargs=generate))
    chunks = {"chunk_length_s": 14, "return_timestamps": True, "generate_kwargs": generate}
    same(ours(long, batch_size=3, **chunks), reference(long, **chunks))
    same(ours(str(clips["0930"])), reference(waves[2], generate_kwargs=generate))


@pytest.mark.soak
def test_half_an_hour(clips: dict[str, Path], whisper_tiny: Path) -> None:
    """Every sentence again and again: none is lost, and none is made up for half an hour of silence."""
    listen = core.pipeline("automatic-speech-recognition", model=whisper_tiny)
    waves = np.concatenate([load_audio(clips[number], 16000) for number in CLIPS])
    times = 30 * 60 * 16000 // len(waves)
    found = listen(np.tile(waves, times), return_timestamps=True)
    spoken = " ".join(CLIPS.values()).split()
    assert SequenceMatcher(None, words(found["text"]), spoken * times, autojunk=False).ratio() > 0.9
    assert abs(found["chunks"][-1]["timestamp"][1] - times * len(waves) / 16000) < 5
    assert listen(np.zeros(30 * 60 * 16000, np.float32)) == {"text": ""}
