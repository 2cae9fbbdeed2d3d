"""Writing text on a CPU: SmolLM2-135M, greedy, one text at a time."""

from collections.abc import Callable
from typing import Any

import torch

from tests.bench.harness import Absent, Row, seconds
from tests.bench.subjects import Subjects

NEW = 24
EDIT = "Repeat this text with every 'colour' spelled 'color' and nothing else changed:\n\n"
SUM_UP = "List the most important sentences of this text, word for word:\n\n"


def rows(subjects: Subjects) -> list[Row]:
    """Seconds a token, and seconds to the first."""
    table = [
        Row(
            f"decode.{name}",
            "s/token",
            token_time(subjects, lambda ours=ours: subjects.ours(ours)),
            token_time(subjects, lambda dtype=dtype: subjects.reference(dtype)),
            f"transformers, {dtype}",
            aim=aim,
            times=True,
        )
        for name, ours, dtype, aim in (
            ("bfloat16", "bfloat16", "bfloat16", 1.4),
            ("float32", "float32", "float32", 1.1),
            ("gguf", "gguf", "float32", 4.5),
        )
    ]
    prompt = subjects.ids
    table.append(
        Row(
            "prefill.gguf",
            "s",
            lambda: seconds(lambda: greedy(subjects.ours("gguf"), prompt(512), 1)),
            lambda: seconds(lambda: greedy(subjects.reference("float32"), prompt(512), 1)),
            aim=1.5,
            times=True,
            note="512 tokens",
        )
    )
    if subjects.peers:
        table.append(
            Row(
                "prefill.gguf.llama_cpp",
                "s",
                lambda: seconds(lambda: greedy(subjects.ours("gguf"), prompt(512), 1)),
                lambda: llama_cpp_prefill(subjects, prompt(512)),
                "llama.cpp",
                aim=4,
                rounds=7,
                times=True,
                note="512 tokens",
            )
        )
        table.append(
            Row(
                "decode.gguf.llama_cpp",
                "s/token",
                token_time(subjects, lambda: subjects.ours("gguf")),
                lambda: llama_cpp_token(subjects),
                "llama.cpp",
                times=True,
            )
        )
    for name, order in (("editing", EDIT), ("summarising", SUM_UP)):
        table.append(
            Row(
                f"lookup.{name}",
                "s",
                lambda order=order: looked_up(subjects, order, 10),
                lambda order=order: looked_up(subjects, order, None),
                "our plain decoding",
                aim=1.4,
                times=True,
                note="the same ids",
            )
        )
    return table


def greedy(model: Any, ids: torch.Tensor, new: int, **more: Any) -> torch.Tensor:
    """The text and `new` tokens after it."""
    mask = torch.ones_like(ids)
    return model.generate(ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False, **more)


def token_time(subjects: Subjects, model: Callable[[], Any]) -> Callable[[], float]:
    """Seconds of one more token, prompt and start taken away."""

    def measure() -> float:
        ids = subjects.ids(32)
        first = min(seconds(lambda: greedy(model(), ids, 1)) for _ in range(2))  # the first call also loads and packs
        return (seconds(lambda: greedy(model(), ids, NEW + 1)) - first) / NEW

    return measure


def llama_cpp_prefill(subjects: Subjects, ids: torch.Tensor) -> float:
    """Seconds of llama.cpp's reading."""
    subjects.llama_cpp.reset()
    return seconds(lambda: subjects.llama_cpp.eval(ids[0].tolist()))


def llama_cpp_token(subjects: Subjects) -> float:
    """Seconds of llama.cpp's next token."""
    model = subjects.llama_cpp
    model.reset()
    model.eval(subjects.ids(32)[0].tolist())

    def write() -> None:
        for _ in range(NEW):
            model.eval([model.sample(temp=0.0)])

    return seconds(write) / NEW


_written: dict[str, torch.Tensor] = {}


def looked_up(subjects: Subjects, order: str, tokens: int | None) -> float:
    """Seconds of 96 tokens that keep to the prompt's text, guessed by looking it up where `tokens` says how many at once."""
    from core.generation import GenerationConfig

    if "prompt_lookup_num_tokens" not in GenerationConfig.knobs():
        raise Absent("prompt_lookup_num_tokens is not there")
    passage = subjects.tokenizer.decode(subjects.ids(200)[0])
    ids = subjects.tokenizer.apply_chat_template(
        [{"role": "user", "content": order + passage}], add_generation_prompt=True, return_tensors="pt"
    )
    more = {} if tokens is None else {"prompt_lookup_num_tokens": tokens}
    model, found = subjects.ours("float32"), []
    taken = seconds(lambda: found.append(greedy(model, ids, 96, **more)))
    if not torch.equal(found[0], _written.setdefault(order, found[0])):
        raise RuntimeError("Look-up decoding wrote other ids than plain decoding.")
    return taken
