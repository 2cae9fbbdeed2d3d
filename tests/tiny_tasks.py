"""One tiny random model a task of training, in a folder, with rows that it can learn by heart."""

import json
import math
import struct
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import core

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "initializer_range": 0.2}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TEXTS = ["the red fox runs home", "a small owl sleeps here", "ada lives in rome now", "we met bob near ulm"]
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} [SEP] {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)


def words(folder: Path, texts: list[str], framed: str = "[CLS] $A [SEP]", pair: str = "[CLS] $A [SEP] $B:1 [SEP]:1") -> int:
    """A tokenizer of whole words; how many it knows. framed, pair: what stands around one text, and around two."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = dict.fromkeys([*special, *(word for text in texts for word in text.split())])
    numbers = {word: i for i, word in enumerate(known)}
    backend = Tokenizer(models.WordLevel(numbers, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(name, numbers[name]) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single=framed, pair=pair, special_tokens=ends)
    settings = {f"{name.lower()}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    settings |= {"eos_token": "[SEP]", "chat_template": TEMPLATE}
    core.PreTrainedTokenizer(backend, settings).save_pretrained(folder)
    return len(numbers)


def jsonl(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows to train on, and the same to judge by."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for split in ("train", "valid"):
        (folder / f"rows.{split}.jsonl").write_text(text, encoding="utf-8")
    return folder / "rows.train.jsonl"


def bert(folder: Path, texts: list[str], kind: str = "BertModel") -> None:
    count = words(folder, texts)
    config = core.BertConfig(vocab_size=count, pad_token_id=0, max_position_embeddings=32, **SIZES, **STILL)
    getattr(core, kind)(config).save_pretrained(folder)


def llama(folder: Path, texts: list[str]) -> None:
    count = words(folder, texts, "$A", "$A $B")
    config = core.LlamaConfig(vocab_size=count, pad_token_id=0, eos_token_id=3, max_position_embeddings=64, **SIZES)
    core.LlamaForCausalLM(config).save_pretrained(folder)


def causal(folder: Path) -> Path:
    llama(folder, TEXTS)
    for split in ("train", "valid"):
        (folder / f"rows.{split}.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    return folder / "rows.train.txt"


def instruction(folder: Path) -> Path:
    rows = [{"prompt": text.rsplit(" ", 1)[0], "completion": text.rsplit(" ", 1)[1]} for text in TEXTS]
    llama(folder, [*TEXTS, "user assistant"])
    return jsonl(folder, rows)


def masked(folder: Path) -> Path:
    bert(folder, TEXTS, "BertForMaskedLM")
    return jsonl(folder, [{"text": text} for text in TEXTS])


def classes(folder: Path) -> Path:
    bert(folder, TEXTS)
    return jsonl(folder, [{"text": text, "label": "xyz"[i % 3]} for i, text in enumerate(TEXTS)])


def entities(folder: Path) -> Path:
    bert(folder, TEXTS)
    tags = {"ada": "B-PER", "bob": "B-PER", "rome": "B-LOC", "ulm": "B-LOC"}
    sentences = ["\n".join(f"{word}\t{tags.get(word, 'O')}" for word in text.split()) for text in TEXTS]
    for split in ("train", "valid"):
        (folder / f"rows.{split}.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
    return folder / "rows.train.conll"


def answers(folder: Path) -> Path:
    rows = []
    for text, question, answer in (
        (TEXTS[0], "which animal", "red fox"),
        (TEXTS[1], "which animal", "small owl"),
        (TEXTS[2], "what place", "rome"),
        (TEXTS[3], "what place", "near ulm"),
    ):
        found = {"text": [answer], "answer_start": [text.index(answer)]}
        rows.append({"question": question, "context": text, "answers": found})
    bert(folder, [*TEXTS, "which what animal place"])
    return jsonl(folder, rows)


def pairs(folder: Path) -> Path:
    return jsonl(folder, [{"source": text, "target": " ".join(reversed(text.split()))} for text in TEXTS])


def t5(folder: Path) -> Path:
    count = words(folder, TEXTS, "$A [SEP]", "$A $B [SEP]")
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    ids = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3}
    core.T5ForConditionalGeneration(core.T5Config(vocab_size=count, **sizes, **ids)).save_pretrained(folder)
    return pairs(folder)


def bart(folder: Path) -> Path:
    count = words(folder, TEXTS)
    sizes = {
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
    }
    sizes |= {"d_model": 32, "max_position_embeddings": 32, "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3, "forced_eos_token_id": 3}
    core.BartForConditionalGeneration(core.BartConfig(vocab_size=count, **sizes, **ids)).save_pretrained(folder)
    return pairs(folder)


def stripes(label: int) -> np.ndarray:
    """(12, 12) uint8."""
    lines = (np.indices((12, 12))[label % 2] // (1 + label // 2) % 2).astype(np.uint8)
    return lines * 255


def vit(folder: Path) -> None:
    core.ViTImageProcessor(size={"height": 12, "width": 12}).save_pretrained(folder)
    config = core.ViTConfig(image_size=12, patch_size=4, **SIZES, **STILL)
    core.ViTForImageClassification(config).save_pretrained(folder)


def arrays(folder: Path) -> Path:
    vit(folder)
    images, labels = np.stack([stripes(i) for i in range(4)]), np.arange(4)
    both = {f"{split}_{name}": value for split in ("train", "valid") for name, value in (("images", images), ("labels", labels))}
    np.savez(folder / "rows.npz", label_names=["across", "down", "wide", "tall"], **both)
    return folder / "rows.npz"


def pictures(folder: Path) -> Path:
    from PIL import Image

    vit(folder)
    for split in ("train", "valid"):
        for i in range(4):
            place = folder / "pictures" / split / ["across", "down", "wide", "tall"][i]
            place.mkdir(parents=True)
            Image.fromarray(stripes(i)).convert("RGB").save(place / "one.png")
    return folder / "pictures"


def tones(folder: Path, said: list[str]) -> Path:
    """Clips of what is said, each letter with a tone that rises and falls and a tail of its own, so that no two moments are alike."""
    rows = []
    for i, text in enumerate(said):
        pitches = [0.03 * (ord(letter) % 32 + 1) for letter in text.upper()]
        samples = [math.sin(pitch * n) * math.sin(math.pi * n / 900) for pitch in pitches for n in range(900)]
        samples += [0.1 * math.sin(0.05 * n) for n in range(400 * i)]
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(b"".join(struct.pack("<h", int(20000 * value)) for value in samples))
        rows.append({"audio": f"{i}.wav", "text": text})
    return jsonl(folder, rows)


CONVOLUTIONS = {"conv_dim": (16, 16, 16), "conv_kernel": (10, 8, 4), "conv_stride": (8, 5, 2), "feat_extract_norm": "layer"}
CONVOLUTIONS |= {"num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0, "layerdrop": 0.0}
CONVOLUTIONS |= {f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation", "feat_proj", "final")}


def clips(folder: Path) -> Path:
    core.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    config = core.Wav2Vec2Config(vocab_size=31, classifier_proj_size=16, **SIZES, **CONVOLUTIONS)
    core.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    rows = [json.loads(line) for line in tones(folder, ["ONE", "TWO", "SIX"]).read_text().splitlines()]
    return jsonl(folder, [{"audio": row["audio"], "label": row["text"]} for row in rows])


def letters(folder: Path) -> Path:
    known = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVKXJQZ"]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(known)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Wav2Vec2CTCTokenizer"}))
    core.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    config = core.Wav2Vec2Config(vocab_size=len(known), pad_token_id=0, ctc_loss_reduction="mean", **SIZES, **CONVOLUTIONS)
    core.Wav2Vec2ForCTC(config).save_pretrained(folder)
    return tones(folder, ["ONE", "TWO", "SIX"])


def whisper(folder: Path) -> Path:
    from tokenizer_folders import END, files_of, write

    files = files_of("WhisperTokenizer")
    plain = [token for token in files["vocab__json"] if token != END]  # the end stands behind the text's tokens, as published
    files["vocab__json"] = {token: i for i, token in enumerate([*plain, END])}
    write(folder / "files", **files)
    tokenizer = core.AutoTokenizer.from_pretrained(folder / "files")
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (END, "<|startoftranscript|>", "<|notimestamps|>")}
    core.WhisperProcessor(core.WhisperFeatureExtractor(feature_size=20, chunk_length=1), tokenizer).save_pretrained(folder)
    sizes = {
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
    }
    sizes |= {"d_model": 32, "num_mel_bins": 20, "max_source_positions": 50, "max_target_positions": 40, "dropout": 0.0}
    marks = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), ids[END])
    marks |= {"decoder_start_token_id": ids["<|startoftranscript|>"], "begin_suppress_tokens": [ids[END]], "suppress_tokens": []}
    model = core.WhisperForConditionalGeneration(core.WhisperConfig(vocab_size=len(tokenizer), **sizes, **marks))
    model.generation_config.max_length = 40
    model.generation_config.extra |= {"is_multilingual": False, "no_timestamps_token_id": ids["<|notimestamps|>"]}
    model.save_pretrained(folder)
    return tones(folder, [" one two", " three", " four"])


@dataclass
class Case:
    """A task; what makes its folder and rows; the pipeline that uses what was trained, and what that says of what it saw."""

    task: str
    make: Callable[[Path], Path]
    pipeline: str
    right: Callable[[Any, Path], bool]
    steps: int = 40
    measured: tuple[str, float] = ("", 0.0)
    rate: float = 1e-2


def continues(ask: Any, folder: Path) -> bool:
    return all(
        ask(text[: text.rindex(" ")], max_new_tokens=1, return_full_text=False)[0]["generated_text"].strip() == text.split()[-1]
        for text in TEXTS
    )


def replies(ask: Any, folder: Path) -> bool:
    talk = [{"role": "user", "content": TEXTS[0].rsplit(" ", 1)[0]}]
    return ask(talk, max_new_tokens=1)[0]["generated_text"][-1]["content"].strip() == TEXTS[0].split()[-1]


def fills(ask: Any, folder: Path) -> bool:
    return ask("the red [MASK] runs home", top_k=1)[0]["token_str"].strip() == "fox"


def labels(ask: Any, folder: Path) -> bool:
    return [ask(text)[0]["label"] for text in TEXTS] == ["x", "y", "z", "x"]


def names(ask: Any, folder: Path) -> bool:
    found = ask(TEXTS[2], aggregation_strategy="simple")
    return [(one["entity_group"], one["word"]) for one in found] == [("PER", "ada"), ("LOC", "rome")]


def points(ask: Any, folder: Path) -> bool:
    return ask(question="which animal", context=TEXTS[1])["answer"] == "small owl"


def reverses(ask: Any, folder: Path) -> bool:
    return ask(TEXTS[0], max_new_tokens=8)[0]["generated_text"].strip() == "home runs fox red the"


def sees(ask: Any, folder: Path) -> bool:
    from PIL import Image

    found = [ask(Image.fromarray(stripes(i)).convert("RGB"), top_k=1)[0]["label"] for i in range(4)]
    return found == ["across", "down", "wide", "tall"]


def hears(said: str) -> Callable[[Any, Path], bool]:
    return lambda ask, folder: ask(str(folder / "0.wav"))["text"].strip() == said


def tells(ask: Any, folder: Path) -> bool:
    return ask(str(folder / "1.wav"), top_k=1)[0]["label"] == "TWO"


CASES = {
    "causal-lm": Case("causal-lm", causal, "text-generation", continues),
    "instruction": Case("instruction", instruction, "text-generation", replies),
    "masked-lm": Case("masked-lm", masked, "fill-mask", fills, 150, rate=3e-3),
    "classes": Case("sequence-classification", classes, "text-classification", labels, measured=("eval_accuracy", 1.0)),
    "entities": Case("token-classification", entities, "token-classification", names, measured=("eval_f1", 1.0)),
    "answers": Case("question-answering", answers, "question-answering", points, measured=("eval_exact_match", 1.0)),
    "t5": Case("seq2seq", t5, "text2text-generation", reverses, 80, ("eval_exact_match", 1.0)),
    "bart": Case("seq2seq", bart, "text2text-generation", reverses, 60, ("eval_exact_match", 1.0)),
    "arrays": Case("image-classification", arrays, "image-classification", sees, measured=("eval_accuracy", 1.0)),
    "pictures": Case("image-classification", pictures, "image-classification", sees, measured=("eval_accuracy", 1.0)),
    "ctc": Case("ctc", letters, "automatic-speech-recognition", hears("ONE"), 120, ("eval_wer", 0.0), 3e-3),
    "clips": Case("audio-classification", clips, "audio-classification", tells, 60, ("eval_accuracy", 1.0), 3e-3),
    "whisper": Case("speech-seq2seq", whisper, "automatic-speech-recognition", hears("one two"), 60, ("eval_wer", 0.0)),
}


def made(case: Case, folder: Path) -> Path:
    """The model's folder with its rows; where these are."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    return case.make(folder)
