"""Rows for the starters' recipes, of data whose files are not rows yet; and the floor that a trivial method reaches on the valid ones.

    python tools/starter_data.py entities  WIKIGOLD.train.conll WNUT17.train.conll OUT    a tenth of Wikigold is held out
    python tools/starter_data.py questions COVID-QA.train.jsonl XQUAD.dev.jsonl OUT       a tenth of the articles is held out
    python tools/starter_data.py sounds    SPOKEN-DIGITS.zip OUT                          two takes of ten of each speaker are held out
    python tools/starter_data.py captions  TEXTURES.npz DIGITS.npz OUT                    valid stays valid
    python tools/starter_data.py sentences OUT TEXT.txt TABLE.tsv …                       every fiftieth sentence is held out
    python tools/starter_data.py summaries SCITLDR.train.jsonl SCITLDR.valid.jsonl OUT    valid stays valid
    python tools/starter_data.py words     TRAIN.tsv VALID.jsonl                          a floor alone: word by word

OUT is a folder, outside of this project: the data is not part of it.
"""

import argparse
import hashlib
import json
import re
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.paths import assets_dir
from core.trainer.config import read
from core.trainer.metrics import chrf, entities, rouge_1, token_f1
from core.trainer.reading import load_rows

Rows = list[dict[str, Any]]
# WNUT-17's six types by Wikigold's four
TYPES = {
    "person": "PER",
    "location": "LOC",
    "corporation": "ORG",
    "group": "ORG",
    "product": "MISC",
    "creative-work": "MISC",
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def held_out(key: str, share: int = 10) -> bool:
    """Whether rows of this key are judged by: one in `share`, always the same ones."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % share == 0


def write(rows: Rows, path: Path) -> None:
    """Rows as .jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(path, len(rows))


def name_entities(wikigold: Path, wnut: Path, out: Path) -> None:
    """Both sets under four types. Floor: the names of the training rows, wherever they stand."""
    clean, noisy = load_rows(wikigold), load_rows(wnut)
    for row in noisy:
        row["tags"] = [tag if tag == "O" else f"{tag[:2]}{TYPES[tag[2:]]}" for tag in row["tags"]]
    valid = [row for row in clean if held_out(" ".join(row["tokens"]))]
    train = [row for row in clean if not held_out(" ".join(row["tokens"]))]
    write(train + noisy, out / "entities.train.jsonl")
    write(valid, out / "entities.valid.jsonl")
    kinds: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in train:
        for kind, begin, end in entities(row["tags"]):
            kinds[tuple(row["tokens"][begin:end])][kind] += 1
    right = guessed = there = 0
    for row in valid:
        words, at, found = row["tokens"], 0, set()
        while at < len(words):
            end = next((e for e in range(min(len(words), at + 6), at, -1) if tuple(words[at:e]) in kinds), None)
            if end:
                found.add((kinds[tuple(words[at:end])].most_common(1)[0][0], at, end))
            at = end or at + 1
        wanted = entities(row["tags"])
        right, guessed, there = right + len(found & wanted), guessed + len(found), there + len(wanted)
    print(f"floor, entity F1 by a dictionary: {2 * right / (guessed + there):.3f}")


def questions(covid: Path, xquad: Path, out: Path) -> None:
    """Both sets. Floor: the sentence that shares most words with the question."""
    rows = load_rows(covid) + load_rows(xquad)
    valid = [row for row in rows if held_out(row["title"])]
    write([row for row in rows if not held_out(row["title"])], out / "questions.train.jsonl")
    write(valid, out / "questions.valid.jsonl")

    def words(text: str) -> set[str]:
        return set(re.findall(r"\w+", text.lower()))

    scores = []
    for row in valid:
        sentences = re.split(r"(?<=[.!?])\s+", row["context"])
        best = max(sentences, key=lambda sentence: len(words(sentence) & words(row["question"])))
        scores.append(max(token_f1(best, right) for right in row["answers"]["text"]))
    print(f"floor, token F1 of the likest sentence: {np.mean(scores):.3f}")


def sounds(archive: Path, out: Path) -> None:
    """Clips in a folder, rows with a path and a word. Floor: logistic regression on a mean spectrum is in the data's MANIFEST."""
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".wav"))
        file.extractall(out)
    takes = sorted({int(Path(name).stem.split("_")[2]) for name in names})
    rows: dict[bool, Rows] = {True: [], False: []}
    for name in names:
        digit, _, take = Path(name).stem.split("_")
        rows[int(take) in takes[-2:]].append({"audio": name, "label": DIGITS[int(digit)]})
    write(rows[False], out / "sounds.train.jsonl")
    write(rows[True], out / "sounds.valid.jsonl")


def captions(textures: Path, digits: Path, out: Path) -> None:
    """Both sets as images of 32 by 32 with names in words."""
    parts: dict[str, Any] = {"label_names": None}
    with np.load(textures) as first, np.load(digits) as second:
        names = [str(name) for name in first["label_names"]]
        parts["label_names"] = np.array([*names, *(f"the digit {digit}" for digit in DIGITS)])
        for split in ("train", "valid"):
            edged = np.pad(second[f"{split}_images"], [(0, 0), (2, 2), (2, 2)])
            parts[f"{split}_images"] = np.concatenate([first[f"{split}_images"], edged])
            parts[f"{split}_labels"] = np.concatenate([first[f"{split}_labels"], second[f"{split}_labels"] + len(names)])
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "captions.npz", **parts)
    print(out / "captions.npz", *(len(parts[f"{split}_labels"]) for split in ("train", "valid")))


def sentences(out: Path, files: list[Path]) -> None:
    """Lines of 4 to 60 words, of a table its first column. Floor: the commonest word, always."""
    found = dict.fromkeys(
        " ".join(line.split("\t")[0].split())
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if 4 <= len(line.split("\t")[0].split()) <= 60
    )
    rows = [{"text": text} for text in found]
    write([row for row in rows if not held_out(row["text"], 50)], out / "sentences.train.jsonl")
    write([row for row in rows if held_out(row["text"], 50)], out / "sentences.valid.jsonl")
    words = Counter(word for row in rows for word in re.findall(r"\w+|[^\w\s]", row["text"].lower()))
    print(f"floor, the commonest word: {words.most_common(1)[0][1] / words.total():.3f}")


def summaries(train: Path, valid: Path, out: Path) -> None:
    """Abstracts under the recipe's prompt. Floor: the abstract's first sentence."""
    prompt = read(assets_dir() / "recipes" / "summaries.yaml").card["prompt"]

    def rows(path: Path) -> Rows:
        return [
            {
                "prompt": prompt.replace("{text}", row["document"]),
                "completion": row["summaries"][0],
                "references": row["summaries"][1:],
            }
            for row in load_rows(path)
        ]

    write(rows(train), out / "summaries.train.jsonl")
    write(rows(valid), out / "summaries.valid.jsonl")
    pairs = [(re.split(r"(?<=[.!?])\s+", row["document"])[0], row["summaries"]) for row in load_rows(valid)]
    print(
        f"floor, ROUGE-1 of the first sentence: {np.mean([max(rouge_1(first, text) for text in all_) for first, all_ in pairs]):.3f}"
    )


def word_by_word(train: Path, valid: Path) -> None:
    """Each English word by the French one that keeps it company most: the Dice coefficient over sentences."""
    single: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    together: dict[str, Counter[str]] = defaultdict(Counter)

    def words(text: str) -> list[str]:
        return re.findall(r"\w+|[^\w\s]", text.lower())

    for row in load_rows(train, ["en", "fr"]):
        own, other = set(words(row["en"])), set(words(row["fr"]))
        single[0].update(own)
        single[1].update(other)
        for word in own:
            together[word].update(other)

    def best(word: str) -> str:
        pairs = together.get(word)
        return max(pairs, key=lambda other: 2 * pairs[other] / (single[0][word] + single[1][other])) if pairs else word

    known: dict[str, str] = {}
    rows = load_rows(valid)
    texts = [" ".join(known.setdefault(word, best(word)) for word in words(row["en"])) for row in rows]
    print(f"floor, chrF of a dictionary: {chrf(texts, [row['fr'] for row in rows]):.3f}")


TASKS: dict[str, Callable[..., None]] = {
    "entities": name_entities,
    "questions": questions,
    "sounds": sounds,
    "captions": captions,
    "summaries": summaries,
    "words": word_by_word,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*TASKS, "sentences"])
    parser.add_argument("paths", nargs="+", type=Path)
    given = parser.parse_args()
    if given.what == "sentences":
        sentences(given.paths[0], given.paths[1:])
    else:
        TASKS[given.what](*given.paths)
