"""How good predictions are."""

import re
import string
from collections import Counter
from typing import Any

import numpy as np


def accuracy(logits: Any, labels: Any) -> float:
    """Share of rows whose highest logit is their class's; labels of -100 do not count."""
    logits = logits[0] if isinstance(logits, tuple) else logits
    counted = labels != -100
    return float((logits.argmax(-1) == labels)[counted].mean())


def entities(tags: list[str]) -> set[tuple[str, int, int]]:
    """IOB2 tags -> (type, first word, word after the last). An I- that follows nothing of its type begins one, as in conlleval."""
    found, begin, kind = set(), 0, ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix != "I" or name != kind):
            found.add((kind, begin, place))
            kind = ""
        if prefix in ("B", "I") and not kind:
            begin, kind = place, name
    return found


def entity_f1(logits: Any, labels: Any, names: list[str]) -> dict[str, float]:
    """Micro-averaged over all entities: right ones have type and both ends right. Tjong Kim Sang & De Meulder 2003."""
    logits = logits[0] if isinstance(logits, tuple) else logits
    guesses, right, guessed, there = logits.argmax(-1), 0, 0, 0
    for own, truth in zip(guesses, labels, strict=True):
        counted = truth != -100
        found = entities([names[i] for i in own[counted]])
        wanted = entities([names[i] for i in truth[counted]])
        right, guessed, there = right + len(found & wanted), guessed + len(found), there + len(wanted)
    precision, recall = right / max(1, guessed), right / max(1, there)
    f1 = 2 * precision * recall / max(1e-12, precision + recall)
    return {"f1": f1, "precision": precision, "recall": recall, "accuracy": accuracy(logits, labels)}


def normalised(text: str) -> list[str]:
    """Words without case, punctuation and articles. Rajpurkar et al. 2016."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def exact(text: str, right: str) -> float:
    """1 where both say the same."""
    return float(normalised(text) == normalised(right))


def token_f1(text: str, right: str) -> float:
    """How far the words overlap."""
    own, wanted = normalised(text), normalised(right)
    shared = sum((Counter(own) & Counter(wanted)).values())
    return 2 * shared / (len(own) + len(wanted)) if own or wanted else 1.0


def rouge_1(text: str, right: str) -> float:
    """F1 of the words that two texts share, how often each stands counted. Lin 2004."""
    own, wanted = (Counter(re.findall(r"[^\W_]+", words.lower())) for words in (text, right))
    shared = (own & wanted).total()
    return 2 * shared / (own.total() + wanted.total()) if shared else 0.0


def best_span(starts: Any, ends: Any, places: list[Any], longest: int = 30) -> tuple[int, int]:
    """The first and last token of the likeliest span of at most `longest` tokens, among those that have a place in the text."""
    count = min(len(places), len(starts))
    scores = starts[:count, None] + ends[None, :count]
    allowed = np.array([place is not None for place in places[:count]])
    open_ = np.triu(np.ones((count, count), bool)) & ~np.triu(np.ones((count, count), bool), longest)
    scores = np.where(open_ & allowed[:, None] & allowed[None], scores, -np.inf)
    first, last = np.unravel_index(int(scores.argmax()), scores.shape)
    return int(first), int(last)


def word_error_rate(texts: list[str], right: list[str]) -> float:
    """Insertions, deletions and replacements of words over the words that were said; case and punctuation do not count."""
    wrong = said = 0
    for text, truth in zip(texts, right, strict=True):
        own, wanted = _words(text), _words(truth)
        row = list(range(len(wanted) + 1))
        for i, word in enumerate(own, 1):
            before, row[0] = row[0], i
            for j, other in enumerate(wanted, 1):
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
        wrong, said = wrong + row[-1], said + len(wanted)
    return wrong / max(1, said)


def _words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalnum() or c in " '").split()


def chrf(texts: list[str], right: list[list[str]], longest: int = 6, beta: float = 2.0) -> float:
    """Character n-gram F-score of a whole set, spaces left out; of several right texts the nearest counts. Popovic 2015, as a share
    of 1."""
    totals = np.zeros((longest, 3))
    for text, truths in zip(texts, right, strict=True):
        counted = [_overlap(text, truth, longest) for truth in truths]
        totals += max(counted, key=lambda counts: _f_score(counts, beta))
    return _f_score(totals, beta)


def _overlap(text: str, truth: str, longest: int) -> Any:
    """(n-gram length, 3): how many there are in the text, in the truth, in both."""
    own, wanted = "".join(text.split()), "".join(truth.split())
    rows = []
    for n in range(1, longest + 1):
        a, b = (Counter(s[i : i + n] for i in range(len(s) - n + 1)) for s in (own, wanted))
        rows.append((a.total(), b.total(), (a & b).total()))
    return np.array(rows)


def _f_score(counts: Any, beta: float) -> float:
    there = counts[(counts[:, 0] > 0) & (counts[:, 1] > 0)]
    if not len(there):
        return 0.0
    precision, recall = (there[:, 2] / there[:, 0]).mean(), (there[:, 2] / there[:, 1]).mean()
    return float((1 + beta**2) * precision * recall / max(1e-12, beta**2 * precision + recall))
