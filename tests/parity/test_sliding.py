"""Caches of layers that slide: what is written is the reference's, far beyond the window; memory stays at the window."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rows.decoders import LLAMA
from support import Row, close, fresh_pair, randomise

import core
from core import kernels
from core.errors import GenerationError
from core.generation import Engine
from core.generation.prefixes import PrefixStore
from core.generation.step import decode_step
from core.modeling.cache import ROOM, SLACK, Cache

WINDOW, LENGTH = 5, 240
SIZES = LLAMA | {
    "sliding_window": WINDOW,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "eos_token_id": None,
    "bos_token_id": None,
}
KINDS: dict[str, dict[str, Any]] = {
    "mistral": SIZES,
    "gemma2": SIZES | {"head_dim": 8, "attn_logit_softcapping": 3.0},
    "gemma3_text": SIZES | {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "phi3": SIZES,
    "qwen2": SIZES | {"use_sliding_window": True, "max_window_layers": 1},
}
GREEDY = {"do_sample": False, "eos_token_id": None, "return_dict_in_generate": True}


def make(kind: str = "mistral", **changes: Any) -> Any:
    """A random model without its reference."""
    return randomise(core.AutoModelForCausalLM.from_config(core.AutoConfig.for_model(kind, **KINDS[kind] | changes))).eval()


def padded(*lengths: int) -> dict[str, torch.Tensor]:
    """Rows of so many tokens, padded on the left."""
    torch.manual_seed(len(lengths))
    ids, mask = torch.full((len(lengths), max(lengths)), 3), torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, -length:], mask[row, -length:] = torch.randint(5, 99, (length,)), 1
    return {"input_ids": ids, "attention_mask": mask}


def check_bounded(model: Any, cache: Cache) -> None:
    """Layers that slide hold the window and a little more; the others all."""
    windows = model.base_model.windows
    assert windows
    for index in range(len(cache)):
        keys = cache._layers[index].keys
        assert keys.shape[2] <= WINDOW + SLACK + ROOM if index in windows else keys.shape[2] >= cache.get_seq_length()
        assert cache[index][0].shape[2] < WINDOW + SLACK + ROOM or index not in windows


@pytest.mark.parametrize("path", ["compiled", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_logits_of_the_reference(kind: str, path: str, tmp_path: Path) -> None:
    """A padded batch of prompts shorter and longer than the window, then one prompt with look-up; far more tokens than are held."""
    reference, ours = fresh_pair(Row(kind, "CausalLM", "sliding", KINDS[kind]), tmp_path)
    given = padded(11, 3)
    with kernels.off() if path == "plain" else torch.inference_mode():
        expected = reference.generate(**given, **GREEDY, max_new_tokens=LENGTH, output_logits=True)
        found = ours.generate(**given, **GREEDY, max_new_tokens=LENGTH, output_logits=True)
        assert found.sequences.tolist() == expected.sequences.tolist()
        close(torch.stack(found.logits), torch.stack(expected.logits))
        assert found.past_key_values.get_seq_length() == 11 + LENGTH - 1
        check_bounded(ours, found.past_key_values)
        one = {name: value[:1] for name, value in given.items()}
        guessed = ours.generate(**one, **GREEDY, max_new_tokens=LENGTH, prompt_lookup_num_tokens=8, max_matching_ngram_size=1)
        assert torch.equal(guessed.sequences, found.sequences[:1]) and guessed.drafted_tokens > guessed.accepted_tokens
        check_bounded(ours, guessed.past_key_values)
    if path == "compiled" and kernels.reason_against() is None:
        assert kernels.describe(ours).startswith("compiled step"), kernels.describe(ours)


def test_attentions_of_the_reference(tmp_path: Path) -> None:
    """A layer that slides shows the tokens of its window, the others all."""
    reference, ours = fresh_pair(Row("gemma3_text", "CausalLM", "sliding", KINDS["gemma3_text"]), tmp_path)
    asked = GREEDY | {"max_new_tokens": 8, "output_attentions": True}
    expected, found = reference.generate(**padded(11, 8), **asked), ours.generate(**padded(11, 8), **asked)
    assert [layer.shape[-1] for layer in found.attentions[-1]] == [WINDOW, 18, WINDOW]
    for step, (mine, theirs) in enumerate(zip(found.attentions, expected.attentions, strict=True)):
        for ours_, theirs_ in zip(mine, theirs, strict=True):
            close(ours_[:, :, 3 if not step else 0 :], theirs_[:, :, 3 if not step else 0 :])  # padding reads anything


def test_assistants_go_back_further_than_is_kept() -> None:
    """Guesses of 150 tokens, all wrong."""
    model, assistant = make(), make(num_hidden_layers=1)
    ids = padded(90)["input_ids"]
    plain = model.generate(ids, **GREEDY, max_new_tokens=160)
    asked = {"num_assistant_tokens": 150, "assistant_confidence_threshold": 0.0}
    found = model.generate(ids, **GREEDY, max_new_tokens=160, assistant_model=assistant, **asked)
    assert torch.equal(found.sequences, plain.sequences) and found.accepted_tokens < found.drafted_tokens


def test_beams_of_the_reference(tmp_path: Path) -> None:
    reference, ours = fresh_pair(Row("mistral", "CausalLM", "sliding", KINDS["mistral"]), tmp_path)
    asked = GREEDY | {"num_beams": 3, "max_new_tokens": 150, "output_scores": True}
    expected, found = reference.generate(**padded(11, 3), **asked), ours.generate(**padded(11, 3), **asked)
    assert found.sequences.tolist() == expected.sequences.tolist()
    close(found.sequences_scores, expected.sequences_scores)
    check_bounded(ours, found.past_key_values)


@torch.inference_mode()
def read(model: Any, ids: torch.Tensor, piece: int = 7, cache: Cache | None = None) -> tuple[torch.Tensor, Cache]:
    """A text (1, tokens) in pieces -> the last logits (1, vocabulary) and the cache."""
    held: Cache = model.new_cache() if cache is None else cache
    logits = torch.empty(0)
    for end in range(held.get_seq_length() + piece, ids.shape[1] + piece, piece):
        part = ids[:, :end]
        logits = decode_step(model, part, torch.ones_like(part), held)
    return logits, held


def last_logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Of a text, without any cache."""
    with torch.inference_mode():
        return model(ids, use_cache=False).logits[:, -1]


@pytest.mark.parametrize("piece", [1, 7, 100, 300])
def test_going_back(piece: int) -> None:
    """Within what is kept it is exact; further back it is refused, or the cache never forgot."""
    model, ids = make(), padded(300)["input_ids"]
    logits, cache = read(model, ids, piece)
    close(logits, last_logits(model, ids))
    back = 300 - SLACK // 2
    cache.trim(back)
    other = torch.cat([ids[:, :back], ids[:, :20]], 1)
    close(read(model, other, 3, cache)[0], last_logits(model, other))
    if piece < 300:
        assert not cache.can_trim(20)
        with pytest.raises(GenerationError, match="cannot go back to 20 tokens"):
            cache.trim(20)
    assert cache.can_trim(cache.get_seq_length()) and cache.can_trim(400)


@torch.inference_mode()
def test_rows_join_and_leave() -> None:
    """Texts of which some forgot their beginning and one is shorter than the window, as one batch, on both paths; then some go."""
    model = make("gemma3_text")
    lengths = (200, 4, 90, 130)
    texts = [padded(length)["input_ids"] for length in lengths]
    for path in (kernels.off(), torch.inference_mode()):
        with path:
            rows = [(read(model, text[:, :-1], piece)[1], 0, 0) for text, piece in zip(texts, (7, 7, 90, 1), strict=True)]
            batch, kept = Cache.joined(rows), [*range(4)]
            check_bounded(model, batch)
            for step in range(80):
                if step == 40:  # rows 0 and 3 leave
                    kept, most = [1, 2], batch.get_seq_length()
                    batch = Cache.joined([(batch, row, most - texts[row].shape[1] + 1) for row in kept])
                longest = max(texts[row].shape[1] for row in kept)
                assert batch.get_seq_length() == longest - 1
                ids, mask = torch.full((len(kept), longest), 3), torch.zeros(len(kept), longest, dtype=torch.long)
                for at, row in enumerate(kept):
                    ids[at, longest - texts[row].shape[1] :] = texts[row]
                    mask[at, longest - texts[row].shape[1] :] = 1
                logits = decode_step(model, ids, mask, batch)
                if step % 13 == 0:
                    close(logits, torch.cat([last_logits(model, texts[row]) for row in kept]))
                for at, row in enumerate(kept):
                    texts[row] = torch.cat([texts[row], logits[at].argmax().view(1, 1)], 1)
            check_bounded(model, batch)


def test_joined_rows_go_back_as_far_as_they_say() -> None:
    """One that was shortened holds less than others: what it lacks is never taken for what was said."""
    model, ids = make(), padded(300)["input_ids"]
    shortened, whole = read(model, ids)[1], read(model, ids[:, :230])[1]
    shortened.trim(230)
    joined = Cache.joined([(shortened, 0, 0), (whole, 0, 0)])
    back = next(length for length in range(231) if joined.can_trim(length))
    joined.trim(back)
    other = torch.cat([ids[:, :back], ids[:, :1]], 1).expand(2, -1)
    with torch.inference_mode():
        close(decode_step(model, other, torch.ones_like(other), joined), last_logits(model, other))


def test_a_prefix_is_used_as_far_as_it_is_held() -> None:
    """The store gives what a next turn can begin with, and nothing where the window's beginning was forgotten."""
    model, ids = make(), padded(300)["input_ids"]
    _, cache = read(model, ids)
    store = PrefixStore(1 << 30)
    store.put(None, ids[0], cache)
    for same in (300, 270):
        longer = torch.cat([ids[:, :same], 104 - ids[:, :30]], 1)
        taken = store.take(None, longer[0])
        assert taken is not None and taken.get_seq_length() == same
        close(read(model, longer, 7, taken)[0], last_logits(model, longer))
    assert store.take(None, torch.cat([ids[0, :100], 104 - ids[0, :30]])) is None


def test_an_engine_serves_long_chats() -> None:
    """Requests among others get what they get alone, far beyond the window; a next turn computes its own tokens only."""
    model = make()
    prompts = [padded(length)["input_ids"][0].tolist() for length in (150, 9, 70, 2, 400)]
    asked = {"do_sample": False, "eos_token_id": None}
    alone = [model.generate(torch.tensor([p]), max_new_tokens=90, **asked)[0].tolist() for p in prompts]
    again = model.generate(torch.tensor([[*alone[4][:480], 7, 8, 9]]), max_new_tokens=9, **asked)[0].tolist()
    second = model.generate(torch.tensor([[*alone[1], 7, 8]]), max_new_tokens=9, **asked)[0].tolist()
    with Engine(model, max_rows=3) as engine:
        requests = [engine.submit(p, max_new_tokens=90, **asked) for p in prompts]
        for request, p, whole in zip(requests, prompts, alone, strict=True):
            assert request.result().token_ids == whole[len(p) :]
        turn = engine.submit([*alone[4][:480], 7, 8, 9], max_new_tokens=9, **asked).result()
        assert turn.token_ids == again[483:] and turn.reused_tokens == 480
        padded_once = engine.submit([*alone[1], 7, 8], max_new_tokens=9, **asked).result()
        assert padded_once.token_ids == second[101:] and padded_once.reused_tokens == 98
