"""Damages one format's file many times and loads, encodes and decodes each time; run as a process of its own, as it may crash.

Usage: FORMAT COUNT SEED FOLDER -> a JSON line for each mutation: seconds, peak megabytes above the start, what happened.
"""

import json
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizer_corpus import CHAT, TEXTS
from tokenizer_folders import files_of, sentence_model, write

import core
from core.errors import TokenizerError

TEMPLATE = (
    "{% set n = namespace(text='') %}{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m['content'] | trim }}{{ eos_token }}"
    "{% endgeneration %}{% else %}{% set n.text = n.text ~ m.content[:2] * 3 %}<{{ m.role }}>{{ m.content + '\\n' }}{% endif %}{% endfor %}"
    "{% macro f(k) %}{{ k }}{% if k > 0 %}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(3) }}{{ n.text | replace('a', 'b') | upper | center(9) }}"
    "{% if add_generation_prompt %}{{ ['<', 'assistant', '>'] | join }}{% endif %}{{ messages | map(attribute='role') | list | tojson }}"
)
LIES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2**31,
    2**32,
    2**63,
    2**64,
    1e308,
    0.5,
    "",
    "a",
    "▁",
    "\x00",
    "\ud800",
    "(a+)+$",
    "[",
    "x" * 5000,
]
LIES += [[], {}, [[]], [0], ["a", "b"], {"content": 5}, {"type": "Sequence"}, {"Regex": "(a*)*b"}, {"Regex": "("}, {"String": ""}]


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(container, key) of every value below."""
    for key in value if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            places(value[key], found)
    return found


def json_lie(data: bytes, chance: random.Random) -> bytes:
    """One to three values replaced, removed, or put elsewhere; those outside the vocabulary as often as those inside."""
    values = json.loads(data)
    for _ in range(chance.randint(1, 3)):
        outer = places({k: v for k, v in values.items() if k != "model"}, [])
        everything = places(values, [])
        container, key = chance.choice(outer if chance.random() < 0.6 and outer else everything)
        other, at = chance.choice(everything)
        if chance.random() < 0.15:
            del container[key]
        else:
            container[key] = chance.choice(LIES) if chance.random() < 0.8 else json.loads(json.dumps(other[at]))
    return json.dumps(values).encode()


def line_lie(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    lines[at : at + 1] = chance.choice(
        [[], [lines[at]] * 2, [b""], [b"x" * 100_000], [b"\xff\xfe"], [lines[at], b"[UNK]"], lines[::-1], [b"\x00"]]
    )
    return b"\n".join(lines)


def byte_lie(data: bytes, chance: random.Random) -> bytes:
    """A run of bytes overwritten, doubled or removed: lengths and numbers that no longer fit."""
    at, size = chance.randrange(len(data)), chance.randint(1, 12)
    other = chance.choice(
        [b"\xff" * size, b"\x00" * size, bytes(chance.randrange(256) for _ in range(size)), data[at : at + size] * 2, b""]
    )
    return data[:at] + other + data[at + size :]


def text_lie(data: bytes, chance: random.Random) -> bytes:
    """Words and signs of the template changed for one another or for worse."""
    parts = re.split(r"(\W)", data.decode())
    for _ in range(chance.randint(1, 6)):
        worse = [
            "999999999",
            "range(10**9)",
            "n.text ~ n.text",
            "{% for a in range(10**5) %}",
            "messages",
            "'a' * 10**9",
            "f(k)",
            "f(k + 1)",
            "**",
        ]
        parts[chance.randrange(len(parts))] = chance.choice(worse) if chance.random() < 0.4 else chance.choice(parts)
    return "".join(parts).encode()


def folder_of(kind: str, folder: Path) -> str:
    """Write the files of a format; the name of the one to damage."""
    if kind.startswith("tokenizer.json"):
        name = kind.partition(":")[2]
        write(folder / "files", **files_of(name))
        getattr(core, name).from_pretrained(folder / "files").save_pretrained(folder)
        return "tokenizer.json"
    if kind == "vocab.txt":
        write(folder, **files_of("BertTokenizer"), tokenizer_config__json={"tokenizer_class": "BertTokenizer"})
        return kind
    if kind.startswith("sentencepiece"):
        unigram = kind.endswith("unigram")
        name, options = (
            ("T5Tokenizer", {"vocab_size": 300}) if unigram else ("LlamaTokenizer", {"model_type": "bpe", "byte_fallback": True})
        )
        file = "spiece.model" if unigram else "tokenizer.model"
        write(folder, **{file.replace(".", "__"): sentence_model(**options)}, tokenizer_config__json={"tokenizer_class": name})
        return file
    named = kind.partition(":")[2] or "WhisperTokenizer"
    write(folder, **files_of(named))
    getattr(core, named).from_pretrained(folder).save_pretrained(folder / "saved")
    settings = json.loads((folder / "saved" / "tokenizer_config.json").read_text())
    if kind == "chat_template.jinja":
        write(folder, tokenizer_config__json=settings, chat_template__jinja=TEMPLATE)
        return kind
    settings |= {
        "chat_template": "{{ messages[0].content }}",
        "model_max_length": 50,
        "strip_accents": True,
        "add_prefix_space": False,
    }
    settings |= {"do_lower_case": True, "language": None, "additional_special_tokens": ["<a>"]}
    settings["added_tokens_decoder"] = dict(list(settings.get("added_tokens_decoder", {}).items())[:5])
    write(folder, tokenizer_config__json=settings)
    return "tokenizer_config.json"


def highest_memory() -> int:
    """Bytes, since clear_refs was written to."""
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])


def use(folder: Path) -> None:
    """Load, encode, decode and render; raises TokenizerError or there is a fault in our code."""
    tokenizer = core.AutoTokenizer.from_pretrained(folder)
    texts = [text for text in TEXTS if len(text) < 60]
    for row in tokenizer(texts)["input_ids"]:
        assert all(0 <= number < 2**31 for number in row), f"ids {row}"
        tokenizer.decode(row)
        tokenizer.decode(row, skip_special_tokens=True)
    tokenizer("a", "b", return_offsets_mapping=tokenizer.is_fast)
    if tokenizer.pad_token_id is not None:
        tokenizer(texts[:3], padding=True, truncation=True, max_length=9)
    if tokenizer.chat_template:
        tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)


def main(kind: str, count: int, seed: int, folder: Path) -> None:
    name = folder_of(kind, folder)
    path = folder / name
    whole = path.read_bytes()
    lie: dict[str, Callable[[bytes, random.Random], bytes]] = {
        ".json": json_lie,
        ".txt": line_lie,
        ".model": byte_lie,
        ".jinja": text_lie,
    }
    use(folder)
    for number in range(seed, seed + count):
        chance = random.Random(number)
        data = bytearray(whole)
        if number % 4 == 0:
            data = data[: chance.randrange(len(data))]
        elif number % 4 == 1:
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            data = lie[path.suffix](whole, chance)
        path.write_bytes(data)
        print(json.dumps({"begun": number}), flush=True)
        Path("/proc/self/clear_refs").write_text("5")  # the highest memory is counted anew
        before, began, fault, ours = highest_memory(), time.monotonic(), "", True
        try:
            use(folder)
        except TokenizerError as error:
            fault = str(error)
        except BaseException as error:
            fault, ours = f"{type(error).__name__}: {error}", False
        seconds, megabytes = time.monotonic() - began, (highest_memory() - before) / 1e6
        row = {"number": number, "seconds": seconds, "megabytes": megabytes, "fault": fault, "ours": ours, "name": name}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
