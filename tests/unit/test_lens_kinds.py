"""The lens on encoder-decoders, images and recordings, against the models' own outputs."""

import numpy as np
import pytest
import torch
from test_lens import byte_tokenizer

from core.errors import DataError
from core.lens import PARTS, dequantise, inspect_image, inspect_pair, inspect_sound
from core.lens.attention import joined
from core.lens.sounds import Frames
from core.models.bart import BartConfig, BartForConditionalGeneration
from core.models.marian import MarianConfig, MarianMTModel
from core.models.t5 import T5Config, T5ForConditionalGeneration
from core.models.vit import ViTConfig, ViTForImageClassification
from core.models.whisper import WhisperConfig, WhisperForAudioClassification, WhisperForConditionalGeneration
from core.processing.feature_extractors import WhisperFeatureExtractor
from core.processing.image_processors import ViTImageProcessor

SIZES = {
    "vocab_size": 300,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "pad_token_id": 1,
    "eos_token_id": 0,
    "bos_token_id": 0,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}
SOURCE = "Wo ist der Käse?"


def lively(model):
    """With large random weights, so that patterns are far from uniform."""
    torch.manual_seed(2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def writer(kind: str):
    """A tiny encoder-decoder of texts: 2 layers of 4 heads that read, 3 of 6 that write (T5: 4)."""
    if kind == "t5":
        sizes = {
            "vocab_size": 300,
            "d_model": 24,
            "d_kv": 6,
            "d_ff": 32,
            "num_layers": 2,
            "num_decoder_layers": 3,
            "num_heads": 4,
        }
        return lively(T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=1, pad_token_id=1, eos_token_id=0)))
    config, model = {"marian": (MarianConfig, MarianMTModel), "bart": (BartConfig, BartForConditionalGeneration)}[kind]
    return lively(model(config(**SIZES, max_position_embeddings=64)))


@pytest.mark.parametrize("target", ["Where is the cheese?", None])
@pytest.mark.parametrize("kind", ["marian", "bart", "t5"])
def test_all_three_parts_are_the_models_own(kind: str, target: str | None) -> None:
    model, tokenizer = writer(kind), byte_tokenizer()
    seen = inspect_pair(model, tokenizer, SOURCE, target)
    assert tuple(seen) == PARTS
    cross, encoder, decoder = seen.values()
    source = torch.tensor([tokenizer(SOURCE)["input_ids"]])
    with torch.no_grad():
        out = model(input_ids=source, decoder_input_ids=torch.tensor([cross.ids]), output_attentions=True)
    if target:
        assert cross.ids == [1, *tokenizer(target)["input_ids"][:-1]]
    else:
        assert cross.ids == model.generate(source, do_sample=False, max_new_tokens=len(cross.ids))[0, : len(cross.ids)].tolist()
    for part, reference in ((cross, out.cross_attentions), (encoder, out.encoder_attentions), (decoder, out.decoder_attentions)):
        assert np.abs(dequantise(part.patterns) - torch.cat(reference).numpy()).max() < 0.004
    assert (cross.causal, encoder.causal, decoder.causal) == (False, False, True)
    assert cross.columns == encoder.tokens and cross.tokens == decoder.tokens and encoder.columns is None
    assert (encoder.layers, decoder.layers, cross.layers) == (2, 3, 3) and encoder.heads == 4
    assert cross.norms.shape == (4, len(cross.ids)) and encoder.norms.shape == (3, source.shape[1])
    assert cross.predictions[0][1] == pytest.approx(out.logits[0, -1].softmax(-1).max().item(), rel=1e-4)


def test_long_sources_and_empty_ones() -> None:
    model, tokenizer = writer("marian"), byte_tokenizer()
    assert inspect_pair(model, tokenizer, "a" * 100, "b" * 70)["cross"].cut == 37 + 7
    with pytest.raises(DataError, match="no text"):
        inspect_pair(model, tokenizer, " ")


def ears(head):
    """A tiny Whisper that hears a second: 50 frames."""
    config = WhisperConfig(
        **SIZES | {"vocab_size": 51865, "decoder_start_token_id": 50258},
        num_mel_bins=8,
        max_source_positions=50,
        max_target_positions=40,
        num_labels=2,
    )
    extractor = WhisperFeatureExtractor(feature_size=8, sampling_rate=1600, hop_length=16, n_fft=64, chunk_length=1)
    return lively(head(config)), extractor


def clip(seconds: float) -> np.ndarray:
    """Noise at 1,600 samples a second."""
    return np.random.default_rng(0).normal(size=round(1600 * seconds)).astype(np.float32) * 0.1


def test_a_recording_is_seen_up_to_its_end_and_the_rest_as_one() -> None:
    model, extractor = ears(WhisperForConditionalGeneration)
    seen = inspect_sound(
        model, {"feature_extractor": extractor, "tokenizer": byte_tokenizer()}, {"raw": clip(0.5), "sampling_rate": 1600}
    )
    cross, encoder, decoder = (seen[part] for part in PARTS)
    features = extractor(clip(0.5), sampling_rate=1600, return_tensors="pt")["input_features"]
    with torch.no_grad():
        out = model(input_features=features, decoder_input_ids=torch.tensor([cross.ids]), output_attentions=True)
    own = torch.cat(out.cross_attentions).numpy()
    assert np.abs(dequantise(cross.patterns)[..., :25] - own[..., :25]).max() < 0.004
    assert np.abs(dequantise(cross.patterns)[..., 25] - own[..., 25:].sum(-1)).max() < 0.004
    heard = torch.cat(out.encoder_attentions).numpy()
    assert np.abs(dequantise(encoder.patterns)[..., 25, :25] - heard[..., 25:, :25].mean(-2)).max() < 0.004
    assert len(encoder.tokens) == 26 and encoder.tokens[:2] == ["0.00 s", "0.02 s"] and cross.columns[-1] == "after"
    assert decoder.causal and cross.predictions and encoder.norms.shape == (3, 26)


def test_an_encoder_alone_and_a_recording_too_long() -> None:
    model, extractor = ears(WhisperForAudioClassification)
    seen = inspect_sound(model, {"feature_extractor": extractor}, {"raw": clip(1.6), "sampling_rate": 1600})
    assert list(seen) == ["encoder"] and len(seen["encoder"].tokens) == 50 and seen["encoder"].tokens[-1] == "0.98 s"
    assert seen["encoder"].cut == 60 and np.abs(dequantise(seen["encoder"].overall).sum(-1) - 1).max() < 0.05


def test_frames_are_joined_to_a_hundred_at_the_most() -> None:
    frames = Frames(window=30, seconds=11)
    begins = frames(1500)
    assert len(begins) <= 101 and begins[-1] == 550 and begins[1] == 6
    assert frames.names(1500)[1] == "0.12 s" and frames.names(1500)[-1] == "after"
    assert Frames(30, 30).names(1500)[-1] == "29.70 s"
    x = torch.arange(12.0).view(1, 2, 6)
    assert joined(x, lambda _: [0, 4], -1).tolist() == [[[6.0, 9.0], [30.0, 21.0]]]
    assert joined(x, lambda _: [0, 4], -1, mean=True).tolist() == [[[1.5, 4.5], [7.5, 10.5]]]


def test_patches_and_the_image_as_the_model_sees_it() -> None:
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "image_size": 24,
        "patch_size": 8,
    }
    model, processor = lively(ViTForImageClassification(ViTConfig(**sizes))), ViTImageProcessor(size={"height": 24, "width": 24})
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    seen = inspect_image(model, processor, image)
    with torch.no_grad():
        out = model(**processor(image, return_tensors="pt"), output_attentions=True)
    assert np.abs(dequantise(seen.patterns) - torch.cat(out.attentions).numpy()).max() < 0.004
    assert seen.tokens == ["all", "1,1", "1,2", "1,3", "2,1", "2,2", "2,3", "3,1", "3,2", "3,3"] and seen.grid == (3, 3)
    assert np.abs(seen.image.astype(int) - image).max() <= 1
