"""Encoder-decoders: taps, folders laid out as those that are published, and what Whisper writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from checks_seq2seq import inputs_of, source_of
from rows.decoders import LLAMA
from rows.seq2seq import BART, MARIAN, T5, WHISPER
from support import Row, close, fresh_pair, make_reference, pair

import core
from core.errors import ConfigError, GenerationError
from core.modeling.taps import Taps
from core.models.whisper import special_tokens

ATTENTION = "q k v scores pattern z head_out attn_out".split()
PLACES = [*ATTENTION, *"resid_pre resid_mid mlp_act mlp_out resid_post".split()]


@pytest.mark.parametrize(
    "row",
    [
        Row("t5", "ConditionalGeneration", "taps", T5),
        Row("bart", "ConditionalGeneration", "taps", BART),
        Row("mbart", "ConditionalGeneration", "taps", BART),
        Row("whisper", "SpeechSeq2Seq", "taps", WHISPER),
    ],
    ids=str,
)
def test_taps(row: Row) -> None:
    """Every place of encoder, decoder and cross-attention is visited, apart; head outputs add up; replacing z is what a head mask does."""
    _, model, _ = pair(row)
    inputs, _ = inputs_of(row)
    named = {"": ("decoder_head_mask", 2), "cross.": ("cross_attn_head_mask", 2), "encoder.": ("head_mask", 3)}
    wished = [prefix + place for prefix in ("", "encoder.") for place in PLACES] + ["cross." + place for place in ATTENTION]
    once = ["embed", "encoder.embed", "logits"]
    taps = Taps(record=dict.fromkeys([*wished, *once]))
    with torch.no_grad():
        plain = model(**inputs).logits
        close(model(**inputs, taps=taps).logits, plain)
        for place in wished:
            assert len(taps.layers(place)) == (3 if place.startswith("encoder.") else 2), place
        assert all((place, None) in taps.seen for place in once)
        assert taps["encoder.pattern", 0].shape[-1] == taps["cross.pattern", 0].shape[-1] != taps["pattern", 0].shape[-1]
        for prefix, (mask_name, layers) in named.items():
            bias = taps[prefix + "attn_out", 1] - taps[prefix + "head_out", 1].sum(-2)
            close(bias, bias[:1, :1].expand_as(bias))
            mask = torch.ones(layers, taps[prefix + "pattern", 1].shape[1])
            mask[1, 2] = 0
            masks = {mask_name: mask}
            masked = model(**inputs, **masks).logits

            def silence(z: torch.Tensor) -> torch.Tensor:
                z = z.clone()
                z[:, :, 2] = 0
                return z

            close(model(**inputs, taps=Taps(replace={(prefix + "z", 1): silence})).logits, masked)
            assert (masked - plain).abs().max() > 1e-4
        alone = Taps(record={"pattern": None, "encoder.pattern": None})
        model.get_encoder()(**source_of(row)[0], taps=alone)
        assert len(alone.layers("pattern")) == 3 and not alone.layers("encoder.pattern")


def published(folder: Path, values: dict[str, Any], weights: dict[str, torch.Tensor], generation: dict[str, Any]) -> None:
    """A folder as older releases are laid out: config.json, generation_config.json and pytorch_model.bin with every name."""
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "generation_config.json").write_text(json.dumps(generation))


def test_opus_mt_as_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The keys and names of Helsinki-NLP/opus-mt-en-fr, scaled down: outputs, and a translation that never writes the pad token."""
    reference = make_reference(Row("marian", "ConditionalGeneration", "published", MARIAN))
    said = {"bad_words_ids": [[98]], "bos_token_id": 0, "decoder_start_token_id": 98, "eos_token_id": 0, "forced_eos_token_id": 0}
    said |= {"max_length": 16, "pad_token_id": 98}
    values = said | {
        "_num_labels": 3,
        "activation_dropout": 0.0,
        "activation_function": "swish",
        "add_bias_logits": False,
        "add_final_layer_norm": False,
        "architectures": ["MarianMTModel"],
        "attention_dropout": 0.0,
        "classif_dropout": 0.0,
        "classifier_dropout": 0.0,
        "d_model": 36,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 44,
        "decoder_layerdrop": 0.0,
        "decoder_layers": 2,
        "decoder_vocab_size": 99,
        "dropout": 0.1,
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 50,
        "encoder_layerdrop": 0.0,
        "encoder_layers": 3,
        "gradient_checkpointing": False,
        "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
        "init_std": 0.02,
        "is_encoder_decoder": True,
        "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
        "max_position_embeddings": 20,
        "model_type": "marian",
        "normalize_before": False,
        "normalize_embedding": False,
        "num_beams": 6,
        "num_hidden_layers": 3,
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "static_position_embeddings": True,
        "torch_dtype": "float32",
        "transformers_version": "4.22.0.dev0",
        "use_cache": True,
        "vocab_size": 99,
    }
    published(tmp_path, values, reference.state_dict(), said | {"num_beams": 6, "renormalize_logits": True})
    model = core.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(model) is core.MarianMTModel and not model.model.encoder.embed_positions.weight.requires_grad
    inputs, _ = inputs_of(Row("marian", "ConditionalGeneration", "published", MARIAN))
    close(model(**inputs).logits, reference(**inputs).logits)
    source = {name: value for name, value in inputs.items() if name != "labels"}
    expected = reference.generate(**source, **said, num_beams=1, do_sample=False)
    assert model.generate(**source, num_beams=1).tolist() == expected.tolist()
    beams = reference.generate(**source, **said, num_beams=6, renormalize_logits=True, do_sample=False)
    assert model.generate(**source).tolist() == beams.tolist(), "the files' wishes are followed"
    assert core.AutoModel.from_pretrained(tmp_path)(input_ids=inputs["input_ids"]).last_hidden_state.shape == (2, 11, 36)
    # as 4.x saves it: neither positions nor the constant
    lean = {name: t for name, t in reference.state_dict().items() if "embed_positions" not in name and "embed_tokens" not in name}
    published(tmp_path, values, {name: lean[name] for name in lean if name not in ("final_logits_bias", "lm_head.weight")}, said)
    caplog.clear()
    again = core.MarianMTModel.from_pretrained(tmp_path)
    assert again.final_logits_bias.abs().max() == 0 and not caplog.records  # nothing is left to be trained
    close(again.model.encoder.embed_positions.weight, reference.model.encoder.embed_positions.weight)
    reference.final_logits_bias.zero_()
    close(again(**inputs).logits, reference(**inputs).logits)


def test_t5_v1_1_as_published(tmp_path: Path) -> None:
    """The keys and names of google/t5-v1_1-small: an output layer of its own, which no scale precedes, and tables that are one."""
    row = Row("t5", "ConditionalGeneration", "published", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})
    reference = make_reference(row)
    torch.manual_seed(3)
    reference.lm_head.weight = torch.nn.Parameter(torch.randn(99, 36))
    values = {name: row.values[name] for name in row.values if name != "num_labels"}
    values |= {
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "model_type": "t5",
        "output_past": True,
    }
    never_used = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.randn(8, 5)}
    published(
        tmp_path, values, reference.state_dict() | never_used, {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    )
    model = core.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert model.lm_head.weight is not model.shared.weight
    assert model.shared.weight is model.encoder.embed_tokens.weight is model.decoder.embed_tokens.weight
    inputs, _ = inputs_of(row)
    close(model(**inputs).logits, reference(**inputs).logits)
    model.save_pretrained(tmp_path / "saved")
    again = core.T5ForConditionalGeneration.from_pretrained(tmp_path / "saved")
    close(again(**inputs).logits, reference(**inputs).logits)
    trunk = core.T5Model.from_pretrained(tmp_path)
    fresh = core.T5ForQuestionAnswering.from_pretrained(tmp_path)
    assert torch.equal(trunk.shared.weight, fresh.shared.weight) and fresh.qa_outputs.weight.shape == (2, 36)


SPOKEN = {
    "decoder_start_token_id": 4,
    "eos_token_id": 3,
    "pad_token_id": 3,
    "bos_token_id": 4,
    "no_timestamps_token_id": 85,
    "return_timestamps": False,
    "suppress_tokens": list(range(50, 80)),
    "begin_suppress_tokens": list(range(6, 90, 2)),
    "max_length": 24,
}
SEVERAL = {
    "is_multilingual": True,
    "lang_to_id": {"<|en|>": 80, "<|fr|>": 81, "<|de|>": 82},
    "task_to_id": {"translate": 83, "transcribe": 84},
    "forced_decoder_ids": [[1, None], [2, 84]],
}


@pytest.mark.parametrize("several", [True, False], ids=["several languages", "English"])
def test_whisper_writes_what_the_reference_writes(tmp_path: Path, several: bool) -> None:
    """The same tokens for a given language and task, for a language told from the clip, and for a model of English alone."""
    row = Row("whisper", "SpeechSeq2Seq", "spoken", WHISPER)
    reference, _ = fresh_pair(row, tmp_path)
    said = SPOKEN | (SEVERAL if several else {"is_multilingual": False})
    reference.generation_config = transformers.GenerationConfig(**said)
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    model = core.AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    features = source_of(row)[0]["input_features"]
    asked: list[dict[str, Any]] = [{}]
    if several:
        asked += [
            {"language": "fr"},
            {"language": "German"},
            {"language": "<|de|>", "task": "translate"},
            {"task": "translate", "max_new_tokens": 5},
            {"language": ["fr", "de"], "num_beams": 2},
            {"language": "french", "do_sample": False, "repetition_penalty": 1.3},
        ]
    for options in asked:
        expected = reference.generate(features, **options)  # without the prompt and the end
        found = model.generate(features, **options)
        assert torch.equal(found, model.generate(input_features=features, **options))
        prompt = 4 if several else 2
        assert found[:, 0].tolist() == [4, 4] and found[:, prompt - 1].tolist() == [85, 85]
        for ours, theirs in zip(found[:, prompt:].tolist(), expected.tolist(), strict=True):
            assert [t for t in ours if t != 3] == [t for t in theirs if t != 3] and len(theirs) > 2
    with pytest.raises(GenerationError, match="en, fr, de, not 'it'" if several else "only writes down English"):
        model.generate(features, language="it")
    if several:
        nonsense: list[tuple[dict[str, Any], str]] = [
            ({"language": ["fr", None]}, "not 'None'"),
            ({"language": ["fr", "de", "en"]}, "3 languages for 2 clips"),
            ({"task": "sing"}, "translate, transcribe, not 'sing'"),
        ]
        for options, sentence in nonsense:
            with pytest.raises(GenerationError, match=sentence):
                model.generate(features, **options)
    with pytest.raises(ConfigError, match=r"7 mels, 26 frames\): pad"):
        model.generate(features[:, :, :20])
    with pytest.raises(ConfigError, match="has positions for 24"):
        model(features, decoder_input_ids=torch.zeros(2, 25, dtype=torch.long))


@pytest.mark.parametrize("forced", [[[1, 82], [2, 83]], [[1, None], [2, 83]], [[1, 81], [2, 84], [3, 85]]], ids=str)
def test_whispers_forced_tokens(tmp_path: Path, forced: list[list[int | None]]) -> None:
    """A language and a task that older files say, in either file; asked for, others hold."""
    row = Row("whisper", "SpeechSeq2Seq", "spoken", WHISPER)
    reference, model = fresh_pair(row, tmp_path)
    features = source_of(row)[0]["input_features"]
    for place in ("generation", "model"):
        said = SPOKEN | SEVERAL | {"forced_decoder_ids": forced if place == "generation" else None}
        reference.config.forced_decoder_ids = model.config.forced_decoder_ids = None if place == "generation" else forced
        reference.generation_config = transformers.GenerationConfig(**said)
        model.generation_config = core.GenerationConfig.from_dict(said)
        for options in ({}, {"language": "en"}):
            expected, found = reference.generate(features, **options), model.generate(features, **options)
            assert found[0, 2].item() == (84 if options else forced[1][1])
            for ours, theirs in zip(found[:, 4:].tolist(), expected.tolist(), strict=True):
                assert [t for t in ours if t != 3] == [t for t in theirs if t != 3] and len(theirs) > 2


def test_whispers_published_vocabularies() -> None:
    """Where tiny.en, tiny and large-v3 keep their special tokens, for files that do not say."""
    cases = [(51864, 50257, 50358, 50362), (51865, 50258, 50359, 50363), (51866, 50258, 50360, 50364)]
    for size, start, transcribe, silent in cases:
        found = special_tokens(core.WhisperConfig(vocab_size=size, decoder_start_token_id=start))
        assert (found["task_to_id"]["transcribe"], found["no_timestamps_token_id"]) == (transcribe, silent)
        assert found["is_multilingual"] == (size > 51864) and len(found["language_ids"]) == (100 if size == 51866 else 99)


def test_positions_of_the_callers() -> None:
    """Whisper's decoder_position_ids."""
    reference, ours, _ = pair(Row("whisper", "Model", "positions", WHISPER))
    source, _ = source_of(Row("whisper", "Model", "positions", WHISPER))
    ids, positions = torch.randint(5, 99, (2, 7)), torch.randint(0, 24, (2, 7))
    given = {"decoder_input_ids": ids, "decoder_position_ids": positions}
    close(ours(**source, **given).last_hidden_state, reference(**source, **given).last_hidden_state)
    assert not torch.allclose(ours(**source, **given)[0], ours(**source, decoder_input_ids=ids)[0])


def test_answers_are_streamed() -> None:
    """A streamer sees the decoder's prompt, then each step; the encoder runs once; training mode is left as it was."""
    row = Row("t5", "ConditionalGeneration", "streamed", T5)
    _, model, _ = pair(row)
    source, _ = source_of(row)
    seen: list[list[int]] = []
    runs = []

    class Collect:
        def put(self, value: torch.Tensor) -> None:
            seen.append(value.flatten().tolist())

        def end(self) -> None:
            pass

    hook = model.encoder.register_forward_hook(lambda *_: runs.append(1))
    model.train()
    found = model.generate(**source, streamer=Collect(), max_new_tokens=4, eos_token_id=None)
    hook.remove()
    assert model.training and len(runs) == 1 and torch.tensor(seen).T.tolist() == found.tolist()
    model.eval()
    states = model.get_encoder()(**source)
    embedded = {"inputs_embeds": model.get_input_embeddings()(source["input_ids"]), "attention_mask": source["attention_mask"]}
    for given in (
        embedded,
        {"encoder_outputs": states, "attention_mask": source["attention_mask"]},
        {"inputs": source["input_ids"]},
    ):
        assert torch.equal(model.generate(**given, max_new_tokens=4, eos_token_id=None), found)
    with pytest.raises(ConfigError, match="needs decoder_input_ids"):
        model(**source)
    with pytest.raises(GenerationError, match="input_features"):
        core.LlamaForCausalLM(core.LlamaConfig(**LLAMA)).generate(input_features=source["input_ids"])


def test_labels_need_an_end() -> None:
    """A text without the end-of-text token, or a target of another length, is one sentence."""
    _, model, _ = pair(Row("bart", "SequenceClassification", "ends", BART | {"num_labels": 3}))
    ids = torch.randint(5, 99, (2, 7))
    with pytest.raises(ConfigError, match="must hold the end-of-text token 2"):
        model(ids)
    with pytest.raises(ConfigError, match="as many tokens as input_ids has, 7"):
        model(ids, decoder_input_ids=ids[:, :3])
    with pytest.raises(ConfigError, match="needs input_ids"):
        model(inputs_embeds=torch.zeros(2, 7, 36), decoder_input_ids=ids)
