"""Pipelines met with what they are not made for: each time a right result, or one sentence that says what to do."""

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pipeline_pairs import text_folder
from rows.decoders import GPT2
from rows.encoders import BERT
from rows.senses import STABLE, VIT, WAV2VEC2
from rows.seq2seq import BART, MARIAN, T5
from support import Row
from tokenizer_folders import files_of, write

import core
from core.auto import AutoModelForAudioClassification, AutoModelForCTC, AutoModelForImageClassification
from core.errors import VitrineError
from core.pipelines import TASKS, KeyDataset, Progress, Result, pipeline_class
from core.pipelines.loading import ALIASES, find_task

MEGABYTE = ("The river in the town is long, and nobody knows who built the bridge. " * 15000)[: 1 << 20]
RATE = 16000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes the folder of a random BERT with a head, once for each."""
    made: dict[str, Path] = {}

    def folder(head: str) -> Path:
        if head not in made:
            row = Row("bert", head, "", BERT | {"max_position_embeddings": 128})
            made[head] = text_folder(row, "BertTokenizer", tmp_path_factory.mktemp(head), model_max_length=128)
        return made[head]

    return folder


@pytest.fixture
def seer() -> Any:
    """An image classifier."""
    model = AutoModelForImageClassification.from_config(core.AutoConfig.for_model("vit", **VIT)).eval()
    processor = core.ViTImageProcessor(size={"height": 12, "width": 12})
    return core.ImageClassificationPipeline(model, image_processor=processor)


def listener(auto: Any = AutoModelForCTC, values: Any = WAV2VEC2, **parts: Any) -> Any:
    """A pipeline over a random Wav2Vec2."""
    kind = core.AutomaticSpeechRecognitionPipeline if auto is AutoModelForCTC else core.AudioClassificationPipeline
    torch.manual_seed(0)
    model = auto.from_config(core.AutoConfig.for_model("wav2vec2", **values | {"vocab_size": 30})).eval()
    return kind(model, feature_extractor=core.Wav2Vec2FeatureExtractor(return_attention_mask=values is STABLE), **parts)


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer of letters."""
    return core.AutoTokenizer.from_pretrained(write(tmp_path_factory.mktemp("letters"), **files_of("Wav2Vec2CTCTokenizer")))


# ------------------------------------------------------------------ finding and fitting


def test_every_task_declares_its_options() -> None:
    """A tab can be built of them: each has its default, its range and a line of help."""
    for task in TASKS:
        kind = pipeline_class(task)
        assert kind.task == task
        for option in kind.options:
            assert option.help.endswith(".") and option.checked(option.default) == option.default
            assert getattr(core, kind.__name__) is kind
    for alias, task in ALIASES.items():
        assert find_task(alias)[0] == task
    assert find_task("translation_en_to_fr")[0] == "translation"
    for name in ("translation_en", "make-coffee", "vqa"):
        with pytest.raises(VitrineError, match="no pipeline for the task"):
            find_task(name)


def test_no_model_named(caplog: pytest.LogCaptureFixture, minilm: Path) -> None:
    with caplog.at_level(logging.WARNING):
        assert core.pipeline("sentence-similarity").model.name_or_path == "all-MiniLM-L6-v2"
    assert "all-MiniLM-L6-v2" in caplog.text
    with pytest.raises(VitrineError, match=r"no starter for zero-shot-image-classification.*clip-vit-base-patch32"):
        core.pipeline("zero-shot-image-classification")


def test_a_model_that_does_not_fit(minilm: Path, folders: Any, tmp_path: Path) -> None:
    with pytest.raises(VitrineError, match="no trained head for text-classification"):
        core.pipeline("text-classification", model=minilm)
    with pytest.raises(VitrineError, match="cannot do image-classification"):
        core.pipeline("image-classification", model=minilm, image_processor=core.ViTImageProcessor())
    model = core.AutoModelForMaskedLM.from_pretrained(folders("MaskedLM"))
    tokenizer = core.AutoTokenizer.from_pretrained(folders("MaskedLM"))
    with pytest.raises(VitrineError, match=r"BertForMaskedLM cannot do question-answering.*BertForQuestionAnswering"):
        core.pipeline("question-answering", model=model, tokenizer=tokenizer)
    with pytest.raises(VitrineError, match="cannot do summarization"):
        core.SummarizationPipeline(model, tokenizer)
    with pytest.raises(VitrineError, match="needs a tokenizer"):
        core.FillMaskPipeline(model)
    with pytest.raises(VitrineError, match="entailment"):
        core.pipeline("zero-shot-classification", model=folders("SequenceClassification"))("a", ["b", "c"])


def test_an_adapter_brings_its_base_and_labels(folders: Any, tmp_path: Path) -> None:
    base = core.AutoModelForSequenceClassification.from_pretrained(folders("Model"), num_labels=3)
    config = core.LoraConfig(r=2, target_modules=["query"], modules_to_save=["classifier"])
    model = core.get_peft_model(base, config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2) if parameter.requires_grad else None
    model.save_pretrained(tmp_path)
    base.config.id2label = {0: "sad", 1: "so-so", 2: "glad"}
    base.config.save_pretrained(tmp_path)
    tokenizer = core.AutoTokenizer.from_pretrained(folders("Model"))
    expected = core.TextClassificationPipeline(model, tokenizer)("the river", top_k=None)
    found = core.pipeline("text-classification", model=tmp_path, tokenizer=tokenizer)("the river", top_k=None)
    assert [e["label"] for e in found] == [e["label"] for e in expected] and found[0]["label"] in ("sad", "so-so", "glad")
    assert all(abs(a["score"] - b["score"]) < 1e-6 for a, b in zip(found, expected, strict=True))


# ------------------------------------------------------------------ options and the way


def test_nonsense_options_get_a_sentence(folders: Any) -> None:
    ask = core.pipeline("question-answering", model=folders("QuestionAnswering"))
    tag = core.pipeline("ner", model=folders("TokenClassification"))
    given = {"question": "who?", "context": "the river in the town"}
    for call, part in (
        (lambda: ask(**given, top_k=0), "top_k must be a number of at least 1"),
        (lambda: ask(**given, doc_stride=500), "doc_stride"),
        (lambda: ask(**given, colour="red"), "no option colour; options: top_k"),
        (lambda: ask(**given, align_to_words=1), "True or False"),
        (lambda: ask(question=["a", "b"], context=["c"]), "2 questions and 1 contexts"),
        (lambda: ask(question="a", context=" "), "context is empty"),
        (lambda: ask("a"), "question"),
        (lambda: tag("a", aggregation_strategy="best"), "must be one of 'none', 'simple'"),
        (lambda: tag("a", stride=3), "aggregation_strategy"),
        (lambda: tag("a", stride=127, aggregation_strategy="max"), "stride must be below"),
        (lambda: tag(["a", 3], is_split_into_words=True), "lists of words|takes"),
        (lambda: tag("a", batch_size=0), "batch_size"),
    ):
        with pytest.raises(VitrineError, match=part):
            call()


def test_progress_and_stopping(folders: Any) -> None:
    tag = core.pipeline("ner", model=folders("TokenClassification"), batch_size=4)
    texts = ["the river " * i for i in range(1, 13)]
    events = list(tag.run(texts))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in progress] == [4, 8, 12] and {event.total for event in progress} == {12}
    assert [event.index for event in events if isinstance(event, Result)] == list(range(12))
    asked = iter([False, True, True])
    stopped = list(tag.run(texts, cancelled=lambda: next(asked)))
    assert stopped == [Progress(4, 12)]
    long = list(tag.run([MEGABYTE[:9000]], aggregation_strategy="simple", stride=8))
    assert len(long) > 4 and isinstance(long[-1], Result)


def test_a_generation_stops_at_a_step(tmp_path: Path) -> None:
    write_on = core.pipeline("text-generation", text_folder(Row("gpt2", "CausalLM", "", GPT2), "GPT2Tokenizer", tmp_path))
    asked = iter([False, False, False, True, True, True])
    events = list(write_on.run(["the"], max_new_tokens=25, eos_token_id=None, cancelled=lambda: next(asked)))
    assert not [event for event in events if isinstance(event, Result)] and next(asked, "none left") is not False


def test_a_data_set_of_columns(folders: Any) -> None:
    classify = core.pipeline("text-classification", folders("SequenceClassification"))
    rows = [{"text": text} for text in ("the river", "a", "a long long town")]
    together, alone = list(classify(KeyDataset(rows, "text"))), [classify(row["text"])[0] for row in rows]
    assert [e["label"] for e in together] == [e["label"] for e in alone]
    assert [e["score"] for e in together] == pytest.approx([e["score"] for e in alone], abs=1e-5)
    assert classify([]) == []


# ------------------------------------------------------------------ inputs of the wrong kind or size


def test_a_megabyte_of_text(folders: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Cut with its number of tokens told, or read in windows."""
    classify = core.pipeline("text-classification", folders("SequenceClassification"))
    tokens = len(classify.tokenizer(MEGABYTE)["input_ids"])
    with caplog.at_level(logging.WARNING):
        result = next(event for event in classify.run([MEGABYTE]) if isinstance(event, Result))
    assert result.cut == tokens - 128 and str(result.cut) in caplog.text
    pair = next(event for event in classify.run([{"text": MEGABYTE, "text_pair": "the"}]) if isinstance(event, Result))
    assert pair.cut == tokens + 2 - 128
    tag = core.pipeline("ner", folders("TokenClassification"), batch_size=64)
    found = tag(MEGABYTE[: 1 << 14], aggregation_strategy="simple", stride=8, ignore_labels=[])
    assert found[-1]["end"] > (1 << 14) - 40
    ask = core.pipeline("question-answering", folders("QuestionAnswering"), batch_size=64)
    answer = ask(question="who built the bridge?", context=MEGABYTE[: 1 << 14])
    assert MEGABYTE[answer["start"] : answer["end"]] == answer["answer"]
    assert ask(question=MEGABYTE[:9000], context="the town")["answer"]
    fill = core.pipeline("fill-mask", folders("MaskedLM"))
    with pytest.raises(VitrineError, match=r"no \[MASK\] among the 128"):
        fill(MEGABYTE[:9000] + "[MASK]")


@pytest.mark.parametrize(("values", "row", "tokenizer"), [(T5, "t5", "T5Tokenizer"), (BART, "bart", "BartTokenizer")])
def test_a_megabyte_to_write_about(values: dict, row: str, tokenizer: str, tmp_path: Path) -> None:
    """Models of few places cut; one of relative places as far as it was trained."""
    folder = text_folder(Row(row, "ConditionalGeneration", "", values | {"n_positions": 64}), tokenizer, tmp_path)
    events = list(core.pipeline("summarization", folder).run([MEGABYTE[: 1 << 19]], max_new_tokens=3))
    result = events[-1]
    assert isinstance(result, Result) and result.cut > 50_000 and set(result.value[0]) == {"summary_text"}


@pytest.mark.parametrize("what", [None, 3, b"the", {"txt": "a"}, 2.5], ids=str)
def test_wrong_types(folders: Any, seer: Any, letters: Any, what: Any) -> None:
    heads = {
        "text-classification": "SequenceClassification",
        "ner": "TokenClassification",
        "fill-mask": "MaskedLM",
        "question-answering": "QuestionAnswering",
        "feature-extraction": "Model",
        "sentence-similarity": "Model",
    }
    pipes = [core.pipeline(task, folders(head)) for task, head in heads.items()]
    for pipe in [*pipes, seer, listener(tokenizer=letters), listener(AutoModelForAudioClassification)]:
        with pytest.raises(VitrineError):
            pipe(what)


def test_empty_texts(folders: Any) -> None:
    with pytest.raises(VitrineError, match=r"no \[MASK\]"):
        core.pipeline("fill-mask", folders("MaskedLM"))("")
    assert core.pipeline("ner", folders("TokenClassification"))("") == []
    similar = core.pipeline("sentence-similarity", folders("Model"))
    for sentences in ([], ["one"], ["one", " "], {"source_sentence": "a", "sentences": []}):
        with pytest.raises(VitrineError, match="two or more sentences"):
            similar(sentences)
    choose = core.pipeline("zero-shot-classification", folders("Model"))
    for text, labels, part in (("", ["a"], "empty"), ("a", [], "labels"), ("a", " , ", "labels")):
        with pytest.raises(VitrineError, match=part):
            choose(text, labels)
    with pytest.raises(VitrineError, match="hypothesis_template"):
        choose("a", ["b"], hypothesis_template="nothing")


def test_images(seer: Any, tmp_path: Path) -> None:
    assert len(seer(Image.new("RGB", (1, 1)))) == 2
    whole = io.BytesIO()
    Image.effect_noise((300, 200), 90).convert("RGB").save(whole, "JPEG")
    (tmp_path / "text.png").write_text("no image")
    for bad in (
        whole.getvalue()[:2000],
        whole.getvalue()[:90],
        b"",
        tmp_path / "text.png",
        "nowhere.png",
        "http://localhost/a.png",
    ):
        with pytest.raises(VitrineError):
            seer(bad)


def test_silent_short_and_long_recordings(
    letters: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.pipelines.automatic_speech_recognition.LONGEST", 2)
    monkeypatch.setattr("core.pipelines.automatic_speech_recognition.CHUNK", 1)
    listen, silence = listener(tokenizer=letters, values=STABLE), np.zeros(RATE, np.float32)
    assert listen(silence) == {"text": ""} and listen(silence, return_timestamps="word") == {"text": "", "chunks": []}
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    with pytest.raises(VitrineError, match="too few"):
        listen(noise[:3])
    with pytest.raises(VitrineError, match="empty"):
        listen(noise[:0])
    with caplog.at_level(logging.WARNING):
        assert listen(noise) == listen(noise, chunk_length_s=1)
    assert "in chunks of 1 seconds" in caplog.text
    classify = listener(AutoModelForAudioClassification)
    classify.feature_extractor.n_samples = RATE
    assert [event.cut for event in classify.run([noise]) if isinstance(event, Result)] == [2 * RATE]
    for call in (
        lambda: listen(noise[:RATE], chunk_length_s=1, stride_length_s=0.6),
        lambda: listen(noise[:RATE], chunk_length_s=-1),
        lambda: listen("nowhere.wav"),
        lambda: listen("https://localhost/a.wav"),
        lambda: listen({"array": noise[:RATE]}),
    ):
        with pytest.raises(VitrineError):
            call()


# ------------------------------------------------------------------ ours alone


def test_similarity_chooses_labels(minilm: Path) -> None:
    choose = core.pipeline("zero-shot-classification", model=minilm)
    result = choose("The orchestra played two symphonies last night.", ["sport", "music", "cooking"])
    assert result["labels"][0] == "music" and result["method"] == "similarity" and abs(sum(result["scores"]) - 1) < 1e-5
    alone = choose("The orchestra played two symphonies last night.", ["sport", "music"], multi_label=True)
    assert alone["labels"] == ["music", "sport"] and all(0 <= score <= 1 for score in alone["scores"])


def test_sentences_are_compared(minilm: Path) -> None:
    similar = core.pipeline("sentence-similarity", model=minilm)
    sentences = ["A cat sleeps.", "The kitten naps.", "Interest rates rose."]
    table = np.array(similar(sentences))
    assert (
        np.allclose(table, table.T, atol=1e-5) and np.allclose(np.diag(table), 1, atol=1e-5) and table[0, 1] > table[0, 2] + 0.3
    )
    row = similar({"source_sentence": sentences[0], "sentences": sentences[1:]})
    assert np.allclose(row, table[0, 1:], atol=1e-5)


def test_translation_knows_languages(tmp_path: Path) -> None:
    folder = text_folder(Row("mbart", "ConditionalGeneration", "", MARIAN | {"pad_token_id": 1}), "MBartTokenizer", tmp_path)
    translate = core.pipeline("translation_en_to_fr", folder)
    options = {"max_new_tokens": 4, "return_tensors": True, "decoder_start_token_id": 2}
    french = translate("the river", **options)[0]["translation_token_ids"]
    assert french[1] == translate.tokenizer.lang_code_to_id["fr_XX"]
    german = translate("the river", src_lang="en_XX", tgt_lang="de_DE", **options)[0]["translation_token_ids"]
    assert german[1] == translate.tokenizer.lang_code_to_id["de_DE"]
    with pytest.raises(VitrineError, match="must be languages of this model"):
        translate("the river", src_lang="en", tgt_lang="xx", **options)
