"""Results of transformers 4.57.6 for the pipelines that version 5 dropped: question-answering and those of texts that answer texts.

    python -m venv old && old/bin/pip install torch==2.13.0 transformers==4.57.6
    old/bin/python tools/freeze_pipelines.py

writes tests/parity/frozen/pipelines.json. Weights are not stored: both sides fill theirs by the recipe of freeze_reference.py.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools.freeze_reference import BART, FOLDER, PLAIN, fill

FILE = FOLDER / "pipelines.json"
WORDS = "the a in of is was it and two river town who what where when wrote runs through old long city bridge house ##s ##ed ##ing un ##er"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *".,?!'-",
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *WORDS.split(),
]
CONTEXT = (
    "The old river runs through the town. Ada Lovelace wrote it in 1843, and the bridge-builders' house was in the long city."
)
LONG = " ".join(f"{CONTEXT} Part {i} was unbuilt." for i in range(6))
SIZES = PLAIN | {"vocab_size": len(PIECES), "max_position_embeddings": 128}
ANSWERING = BART | {"vocab_size": len(PIECES), "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 3}
ANSWERING |= {"bos_token_id": 2, "decoder_start_token_id": 3, "forced_eos_token_id": 3, "num_beams": 1}
PRESCRIBED = {
    "summarization": {"prefix": "old: "},
    "translation_en_to_de": {"prefix": "in the city: "},
}
T5 = {"vocab_size": len(PIECES), "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4, "num_beams": 1}
T5 |= {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0, "task_specific_params": PRESCRIBED}

MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("bert", SIZES, "QuestionAnswering"),
    "bart": ("bart", ANSWERING, "Seq2SeqLM"),
    "t5": ("t5", T5, "Seq2SeqLM"),
}


def asked(question: str | list[str], context: str | list[str] = CONTEXT, **options: Any) -> dict[str, Any]:
    """A call of question-answering."""
    return {"inputs": [], "options": {"question": question, "context": context, **options}}


def told(text: str | list[str], **options: Any) -> dict[str, Any]:
    """A call with a text, or several."""
    return {"inputs": [text], "options": {"num_beams": 1, "suppress_tokens": [0, 1, 2, 3, 4], **options}}


TWO = ["who wrote it?", "what runs through the town?"]
CASES: list[tuple[str, str, list[dict[str, Any]]]] = [
    (
        "bert",
        "question-answering",
        [
            asked(TWO[0]),
            asked(TWO, top_k=3),
            asked(TWO, [CONTEXT, "the house"]),
            asked(TWO[0], top_k=4, max_answer_len=3),
            asked(TWO[0], top_k=4, align_to_words=False),
            asked(TWO[0], handle_impossible_answer=True, top_k=5),
            asked(TWO[1], "a", top_k=3),
            asked(TWO[0], LONG),
            asked(TWO[0], LONG, max_seq_len=40, doc_stride=10, top_k=6),
            asked(TWO[1], LONG, max_seq_len=60, top_k=4, handle_impossible_answer=True),
            asked(TWO[1], LONG, max_seq_len=33, doc_stride=5, top_k=2, max_answer_len=30, align_to_words=False),
        ],
    ),
    (
        "bart",
        "text2text-generation",
        [
            told(CONTEXT[:36], max_new_tokens=8),
            told([CONTEXT[:36], "who"], max_new_tokens=8),
            told(CONTEXT[:20], max_new_tokens=12),
            told(CONTEXT[:20], max_new_tokens=6, min_new_tokens=5, return_tensors=True),
        ],
    ),
    ("bart", "summarization", [told(CONTEXT[:40], max_new_tokens=7), told([CONTEXT[:30], CONTEXT[37:60]], max_new_tokens=7)]),
    ("bart", "translation_en_to_fr", [told(CONTEXT[:40], max_new_tokens=7)]),
    ("t5", "summarization", [told(CONTEXT[:36], max_new_tokens=8)]),
    ("t5", "translation_en_to_de", [told(CONTEXT[:36], max_new_tokens=5), told([CONTEXT[:36], "a town"], max_new_tokens=8)]),
    ("t5", "text2text-generation", [told(CONTEXT[:36], max_new_tokens=6)]),
]


def write_files(folder: Path, name: str) -> None:
    """config.json and the tokenizer's files."""
    model_type, values, _ = MODELS[name]
    pair = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
    ]
    special = {token: PIECES.index(token) for token in PIECES[:5]}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": t, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
            for t, i in special.items()
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": pair[:3],
            "pair": pair,
            "special_tokens": {t: {"id": t, "ids": [special[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: i for i, piece in enumerate(PIECES)},
        },
    }
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128, **roles}
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    files = {"config": {"model_type": model_type, **values}, "tokenizer": tokenizer, "tokenizer_config": settings}
    for file, content in files.items():
        (folder / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")


def results(make: Any) -> Iterator[tuple[str, Any]]:
    """(case, result) of all cases; make(model's name, task) gives a pipeline."""
    for name, task, calls in CASES:
        pipe = make(name, task)
        for i, call in enumerate(calls):
            yield f"{name} {task} {i}", pipe(*call["inputs"], **call["options"])


def main() -> None:
    """Write the file."""
    import transformers

    assert transformers.__version__ == "4.57.6", transformers.__version__
    with tempfile.TemporaryDirectory() as place:

        def make(name: str, task: str) -> Any:
            folder = Path(place) / name
            folder.mkdir(exist_ok=True)
            write_files(folder, name)
            auto = getattr(transformers, f"AutoModelFor{MODELS[name][2]}")
            model = auto.from_config(transformers.AutoConfig.from_pretrained(folder)).eval()
            fill(model)
            return transformers.pipeline(
                task, model=model, tokenizer=transformers.AutoTokenizer.from_pretrained(folder), device="cpu"
            )

        found = dict(results(make))
    text = json.dumps(found, default=lambda tensor: tensor.tolist(), indent=0, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
