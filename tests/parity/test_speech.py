"""Whisper tiny.en on real spoken clips: to their known words, and as the reference writes them."""

import re
import tarfile
from pathlib import Path

import pytest
import torch
import transformers

import core
from core.checkpoints.download import download, find_file
from core.processing import load_audio

# Recordings of LibriVox (public domain) with their transcripts, out of a package's source.
PACKAGE, SOURCE = "pocketsphinx", "pocketsphinx-5.1.1.tar.gz"
CLIPS = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be prudently in his power to do for them",
    "0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "0930": "he might even have been made amiable himself",
}


@pytest.fixture(scope="module")
def clips(request: pytest.FixtureRequest) -> dict[str, Path]:
    """The clips by number, fetched once and kept in pytest's cache."""
    folder = Path(request.config.cache.mkdir("speech"))
    found = {number: folder / f"{number}.wav" for number in CLIPS}
    if not all(file.is_file() for file in found.values()):
        address = find_file(PACKAGE, re.escape(SOURCE))
        assert address is not None
        archive = download(address, folder / SOURCE)
        with tarfile.open(archive) as files:
            for number, target in found.items():
                name = f"pocketsphinx-5.1.1/test/data/librivox/sense_and_sensibility_01_austen_64kb-{number}.wav"
                target.write_bytes(files.extractfile(name).read())  # type: ignore[union-attr]
        archive.unlink()
    return found


def words(text: str) -> list[str]:
    """Lower case, without punctuation, "Mr." as it is spoken."""
    return re.findall(r"[a-z]+", text.lower().replace("mr.", "mister"))


def test_known_words(clips: dict[str, Path], whisper_tiny: Path) -> None:
    """Each clip by itself, then all at once."""
    processor = core.AutoProcessor.from_pretrained(whisper_tiny)
    model = core.AutoModelForSpeechSeq2Seq.from_pretrained(whisper_tiny)
    waves = [load_audio(clips[number], 16000) for number in CLIPS]
    alone = []
    for wave in waves:
        inputs = processor(wave, sampling_rate=16000, return_tensors="pt")
        alone += processor.batch_decode(model.generate(**inputs, max_new_tokens=60), skip_special_tokens=True)
    assert [words(text) for text in alone] == [text.split() for text in CLIPS.values()]
    inputs = processor(waves, sampling_rate=16000, return_tensors="pt")
    together = processor.batch_decode(model.generate(**inputs, max_new_tokens=60), skip_special_tokens=True)
    assert [words(text) for text in together] == [text.split() for text in CLIPS.values()]


def test_equal_to_the_reference(clips: dict[str, Path], whisper_tiny: Path, tmp_path: Path) -> None:
    """What we save of the packed file, the reference loads: features, logits and words are its own."""
    ours = core.WhisperForConditionalGeneration.from_pretrained(whisper_tiny, dtype=torch.float32)
    ours.save_pretrained(tmp_path)
    core.AutoProcessor.from_pretrained(whisper_tiny).feature_extractor.save_pretrained(tmp_path)
    reference = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path)
    wave = load_audio(clips["0930"], 16000)
    features = core.AutoFeatureExtractor.from_pretrained(tmp_path)(wave, sampling_rate=16000, return_tensors="pt")
    theirs = transformers.WhisperFeatureExtractor.from_pretrained(tmp_path)(wave, sampling_rate=16000, return_tensors="pt")
    assert (features["input_features"] - theirs["input_features"]).abs().max() < 1e-4
    ids = torch.tensor([[50257, 50362, 679, 1244, 772]])
    with torch.no_grad():
        have = ours(input_features=features["input_features"], decoder_input_ids=ids).logits
        want = reference(input_features=features["input_features"], decoder_input_ids=ids).logits
    assert (have - want).abs().max() <= 1e-4 * want.abs().max()
