"""The engine: what a request gets among others is what it gets alone; places are given free; nobody starves, nobody hurts another."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import core
from core.errors import AdapterError, GenerationError
from core.generation import Engine, Finished, TextDelta, Waiting
from core.modeling.taps import Taps

WORDS = 61


def scattered(model: Any) -> Any:
    """Every parameter random enough for scores that lie apart."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def llama(**values: Any) -> Any:
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    return scattered(core.LlamaForCausalLM(core.LlamaConfig(vocab_size=WORDS, eos_token_id=None, **sizes, **values)))


def gpt2(**values: Any) -> Any:
    return scattered(
        core.GPT2LMHeadModel(core.GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, eos_token_id=None, **values))
    )


def sliding() -> Any:
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = core.MistralConfig(vocab_size=WORDS, eos_token_id=None, sliding_window=8, **sizes)
    return scattered(core.MistralForCausalLM(config))


def bloom() -> Any:
    return scattered(
        core.BloomForCausalLM(core.BloomConfig(vocab_size=WORDS, hidden_size=32, n_layer=2, n_head=4, eos_token_id=None))
    )


def prompt(length: int, seed: int = 0) -> list[int]:
    return random.Random(1000 * length + seed).choices(range(WORDS), k=length)


def alone(model: Any, ids: list[int], **values: Any) -> list[int]:
    """The tokens that `generate` writes for this prompt alone. Never of a model that an engine is running: that is the engine's."""
    return model.generate(torch.tensor([ids]), **values)[0, len(ids) :].tolist()


class Steps:
    """Counts the forwards of a model."""

    def __init__(self, model: Any) -> None:
        self.count = 0
        self._handle = model.register_forward_hook(self._more)

    def _more(self, *_: Any) -> None:
        self.count += 1


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.time() + seconds
    while not what():
        assert time.time() < end, "it never came to be"
        time.sleep(0.001)


MIXED: list[dict[str, Any]] = [
    {"max_new_tokens": 25},
    {"max_new_tokens": 40, "do_sample": True, "seed": 3, "top_k": 0},
    {"max_new_tokens": 3},
    {"max_new_tokens": 30, "repetition_penalty": 1.5},
    {"max_new_tokens": 20, "do_sample": True, "seed": 4, "temperature": 0.7, "top_p": 0.9, "top_k": 20},
    {"max_new_tokens": 40, "eos_token_id": list(range(0, WORDS, 4))},
    {"max_new_tokens": 40, "eos_token_id": 7, "min_new_tokens": 12, "do_sample": True, "seed": 5},
    {"max_length": 60, "bad_words_ids": [[3], [9, 4]]},
    {"max_new_tokens": 1},
]


@pytest.mark.parametrize("make", [llama, gpt2, sliding, bloom])
def test_each_gets_what_it_gets_alone(make: Callable[[], Any]) -> None:
    model = make()
    asked = [(prompt(n), MIXED[i % len(MIXED)]) for i, n in enumerate((3, 17, 1, 50, 9, 8, 33, 2, 20, 5, 4, 40))]
    expected = [alone(model, ids, **values) for ids, values in asked]
    with Engine(model, max_rows=5) as engine:
        requests = [engine.submit(ids, **values) for ids, values in asked]
        assert [request.result().token_ids for request in requests] == expected
        until(lambda: engine.running == engine.waiting == 0)


def test_long_prompts_are_read_in_pieces() -> None:
    model = llama()
    lengths = (1500, 700, 5, 130)
    expected = [alone(model, prompt(n), max_new_tokens=8) for n in lengths]
    with Engine(model) as engine:
        requests = [engine.submit(prompt(n), max_new_tokens=8) for n in lengths]
        assert [request.result().token_ids for request in requests] == expected


def test_joins_and_leaves_at_random_moments() -> None:
    model, dice = llama(), random.Random(0)
    asked = [(prompt(dice.randint(1, 60), i), {**dice.choice(MIXED[:7])}) for i in range(40)]
    expected = [alone(model, ids, **values) for ids, values in asked]
    wrong: list[int] = []

    def person(numbers: list[int], seed: int) -> None:
        dice = random.Random(seed)
        for number in numbers:
            time.sleep(dice.random() * 0.01)
            ids, values = asked[number]
            request, leaves_after = engine.submit(ids, **values), dice.choice((None, None, 0, 4))
            got = []
            for event in request:
                got += [event.token_id] if isinstance(event, TextDelta) else []
                if leaves_after is not None and len(got) > leaves_after:
                    break
                if isinstance(event, Finished):
                    got = event.token_ids
            if got != expected[number][: len(got)] or (leaves_after is None and got != expected[number]):
                wrong.append(number)

    with Engine(model, max_rows=4) as engine:
        people = [threading.Thread(target=person, args=([*range(i, 40, 8)], i)) for i in range(8)]
        for one in people:
            one.start()
        for one in people:
            one.join()
        until(lambda: not engine.busy)
    assert wrong == []


def test_with_a_tokenizer(smollm2: Path) -> None:
    """The starter: chat, stop strings and plain text together; events join to the text."""
    model, tokenizer = core.AutoModelForCausalLM.from_pretrained(smollm2), core.AutoTokenizer.from_pretrained(smollm2)
    asked: list[tuple[Any, dict[str, Any]]] = [
        ([{"role": "user", "content": "What is the capital of France?"}], {"max_new_tokens": 20}),
        ("Count: one, two,", {"max_new_tokens": 30, "stop_strings": ["six"]}),
        ("The sea is", {"max_new_tokens": 16, "do_sample": True, "seed": 1, "top_p": 0.9}),
        ("Émile écrit: « café ☕ » 猫, ", {"max_new_tokens": 16, "repetition_penalty": 1.1}),
    ]
    from core.generation.request import prompt_ids

    expected = [alone(model, prompt_ids(p, tokenizer)[0].tolist(), tokenizer=tokenizer, **values) for p, values in asked]
    with Engine(model) as engine:
        requests = [engine.submit(p, tokenizer=tokenizer, **values) for p, values in asked]
        for request, tokens in zip(requests, expected, strict=True):
            *deltas, end = list(request)
            assert isinstance(end, Finished) and end.token_ids == tokens
            assert "".join(event.text for event in deltas if isinstance(event, TextDelta)) == end.text
    assert "Paris" in tokenizer.decode(expected[0]) and not tokenizer.decode(expected[1]).count("seven")


# ---------------------------------------------------------------------- places given free


@pytest.mark.parametrize("way", ["cancel", "close", "taps", "waiting", "reading"])
def test_a_cancel_frees_its_place_within_five_steps(way: str) -> None:
    model = llama()
    with Engine(model, max_rows=2) as engine:
        other = engine.submit(prompt(4), max_new_tokens=3000)
        events = iter(other)
        next(events)
        if way == "waiting":
            second = engine.submit(prompt(5), max_new_tokens=3000)
        taps = Taps(record={"pattern": [0]}) if way == "taps" else None
        size = 1900 if way == "reading" else 6
        request = engine.submit(prompt(size), max_new_tokens=100, taps=taps)
        if way == "waiting":
            until(lambda: engine.waiting == 1)
        elif way == "reading":
            until(lambda: engine.running == 2)
        else:
            reading = iter(request)
            next(reading)
        counted = Steps(model)
        reading.close() if way == "close" else request.cancel()  # type: ignore[attr-defined]
        until(lambda: engine.running + engine.waiting == (2 if way == "waiting" else 1))
        assert counted.count <= 5 * (2 if way == "taps" else 1)  # two lanes make a step each
        if way != "close":
            assert request.result().reason == "cancelled"
        if way == "waiting":
            second.cancel()
        other.cancel()
        assert next(event for event in events if isinstance(event, Finished)).reason == "cancelled"


def test_an_error_hurts_nobody_else() -> None:
    """A token that does not exist, more text than there are positions, a tokenizer that fails: each ends its own request."""

    class Broken:
        calls = 0

        def decode(self, ids: list[int], **_: Any) -> str:
            self.calls += 1
            if self.calls > 12:
                raise RuntimeError("no such letter")
            return ""

    model = gpt2(n_positions=40)
    expected = [alone(model, prompt(n), max_new_tokens=20) for n in (4, 9, 15)]
    with Engine(model) as engine:
        good = [engine.submit(prompt(n), max_new_tokens=20) for n in (4, 9)]
        strange = engine.submit([*prompt(5), WORDS + 1], max_new_tokens=20)
        long = engine.submit(prompt(35), max_new_tokens=30)
        broken = engine.submit(prompt(8), max_new_tokens=20, tokenizer=Broken())
        good.append(engine.submit(prompt(15), max_new_tokens=20))
        assert [request.result().token_ids for request in good] == expected
        for request, error in ((strange, IndexError), (long, IndexError), (broken, RuntimeError)):
            with pytest.raises(error):
                request.result()
        assert engine.submit(prompt(4), max_new_tokens=20).result().token_ids == expected[0]


def test_a_step_that_fails_once_costs_one_request() -> None:
    """A fault in the middle of the model, whose cause is in no row: the newest request pays, the others never know."""
    model, twin, faults = llama(), llama(), [RuntimeError("out of memory")]

    def fail(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[0] == 3 and faults:
            raise faults.pop()

    model.model.layers[1].register_forward_pre_hook(fail)
    with Engine(model) as engine:
        requests = [engine.submit(prompt(n), max_new_tokens=20) for n in (4, 15, 9)]
        for n, request in zip((4, 15), requests[:2], strict=True):
            assert request.result().token_ids == alone(twin, prompt(n), max_new_tokens=20)
        with pytest.raises(RuntimeError, match="out of memory"):
            requests[2].result()


def test_padding_goes_with_the_row_that_needed_it() -> None:
    model, widths = llama(), []
    expected = alone(model, prompt(5), max_new_tokens=40)
    with Engine(model) as engine:
        model.register_forward_pre_hook(lambda m, a, kw: widths.append(kw["attention_mask"].shape[1]), with_kwargs=True)
        short = engine.submit(prompt(5), max_new_tokens=40)
        engine.submit(prompt(100), max_new_tokens=10).result()
        assert short.result().token_ids == expected
        assert max(widths) > 100 and widths[-1] == 44


def test_nonsense_is_refused_at_once() -> None:
    with Engine(llama()) as engine:
        nonsense: list[tuple[dict[str, Any], str]] = [
            ({"do_sample": True, "temperature": 0.0}, "temperature"),
            ({"top_p": 2.0}, "top_p"),
            ({"max_length": 3}, "max_new_tokens"),
            ({"eos_token_id": 999}, "vocabulary"),
            ({"stop_strings": ["a"], "max_new_tokens": 2}, "tokenizer"),
            ({"num_return_sequences": 2, "do_sample": True}, "one answer"),
        ]
        for values, sentence in nonsense:
            with pytest.raises(GenerationError, match=sentence):
                engine.submit(prompt(4), **values)
        with pytest.raises(GenerationError, match="no prompt"):
            engine.submit([])
        with pytest.raises(GenerationError, match="tokenizer"):
            engine.submit("text")
        with pytest.raises(GenerationError, match="reads at most 2048"):
            engine.submit(prompt(2048))
        with pytest.raises(AdapterError, match="'nobody'"):
            engine.submit(prompt(4), adapter="nobody")


# ---------------------------------------------------------------------- the line, and the other lane


def test_who_waits_is_told_where() -> None:
    with Engine(llama(), max_rows=1) as engine:
        first = engine.submit(prompt(3), max_new_tokens=400)
        until(lambda: engine.running == 1)
        second, third = (engine.submit(prompt(n), max_new_tokens=4) for n in (4, 5))
        places = [event.position for event in third if isinstance(event, Waiting)]
        assert list(dict.fromkeys(places)) == [2, 1] and third.position == 0
        assert first.result().reason == second.result().reason == "length"


def test_memory_bounds_how_many_run() -> None:
    """The longest of the rows times their number stays within max_tokens."""
    with Engine(llama(), max_rows=8, max_tokens=1000) as engine:
        requests = [engine.submit(prompt(10), max_new_tokens=290) for _ in range(6)]
        seen: list[int] = []
        until(lambda: not seen.append(engine.running) and not engine.busy)
        assert max(seen) == 3
        huge = engine.submit(prompt(10), max_new_tokens=1500)  # larger than all that is allowed: it runs, but alone
        events = iter(huge)
        assert any(isinstance(event, TextDelta) for event in events)
        until(lambda: engine.running == 1)
        huge.cancel()
        assert all(request.result().reason == "length" for request in requests)


def test_neither_lane_starves() -> None:
    model = llama()
    with Engine(model) as engine:
        endless = engine.submit(prompt(3), max_new_tokens=5000)
        until(lambda: engine.running == 1)
        counted = Steps(model)
        engine.run(lambda model: None)
        assert counted.count < 50, "a call waited for the generation"
        stop = threading.Event()

        def calls() -> None:
            while not stop.is_set():
                engine.run(lambda model: time.sleep(0.02))

        people = [threading.Thread(target=calls) for _ in range(3)]
        for one in people:
            one.start()
        assert len(engine.submit(prompt(6), max_new_tokens=40).result().token_ids) == 40
        stop.set()
        for one in people:
            one.join()
        endless.cancel()


def test_a_call_has_the_model_and_its_errors_are_the_callers() -> None:
    model = llama()
    with Engine(model) as engine:
        assert engine.run(lambda inside: inside is model and threading.current_thread().name) == "engine-model"
        with pytest.raises(ZeroDivisionError):
            engine.run(lambda model: 1 / 0)
        with pytest.raises(GenerationError, match="cannot ask for it again"):
            engine.run(lambda model: engine.run(lambda model: 1))
        weights = next(model.parameters())
        grown = engine.run(lambda model: torch.autograd.grad(model(torch.tensor([[1, 2]])).logits.sum(), weights)[0].abs().sum())
        assert grown > 0, "calls may ask for gradients"


def test_closing_ends_everybody() -> None:
    engine = Engine(llama(), max_rows=1)
    requests = [engine.submit(prompt(3), max_new_tokens=5000) for _ in range(3)]
    requests.append(engine.submit(prompt(3), max_new_tokens=5000, taps=Taps()))
    until(lambda: engine.running == 2)
    engine.close()
    for request in requests:
        with pytest.raises(GenerationError, match="unloaded"):
            request.result()
    with pytest.raises(GenerationError, match="unloaded"):
        engine.submit(prompt(3))
    with pytest.raises(GenerationError, match="unloaded"):
        engine.run(lambda model: None)
    assert not any(thread.name == "engine-model" for thread in threading.enumerate())


def test_an_encoder_decoder_goes_through_the_exclusive_lane() -> None:
    sizes = {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
    }
    model = scattered(core.T5ForConditionalGeneration(core.T5Config(vocab_size=WORDS, **sizes)))
    expected = [model.generate(torch.tensor([prompt(n)]), max_new_tokens=12)[0, 1:].tolist() for n in (5, 9)]
    with Engine(model) as engine:
        requests = [engine.submit(prompt(n), max_new_tokens=12) for n in (5, 9)]
        assert [request.result().token_ids for request in requests] == expected


# ---------------------------------------------------------------------- adapters and taps


@pytest.fixture
def adapters(tmp_path: Path) -> Iterator[tuple[Any, dict[str | None, Any]]]:
    """A base, and for each adapter's folder (None: none) a model of its own that wears it."""
    folders: dict[str | None, Any] = {None: llama()}
    for seed, name in enumerate(("red", "blue")):
        adapted = core.get_peft_model(llama(), core.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
        torch.manual_seed(seed)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
        adapted.save_pretrained(tmp_path / name)
        folders[name] = adapted.eval()
    yield tmp_path, folders


def test_two_adapters_and_taps_at_once(adapters: tuple[Path, dict[str | None, Any]]) -> None:
    folder, models = adapters
    lengths = (4, 20, 9)
    expected = {(name, n): alone(model, prompt(n), max_new_tokens=30) for name, model in models.items() for n in lengths}
    assert expected["red", 20] != expected["blue", 20] != expected[None, 20] != expected["red", 20]
    ids = prompt(7)
    lone = Taps(record={"pattern": None})
    with torch.inference_mode():
        models["red"](torch.tensor([ids]), taps=lone)
    with Engine(llama()) as engine:
        started = engine.submit(prompt(9), max_new_tokens=30)  # while the adapters are being read
        for name in ("red", "blue"):
            engine.load_adapter(folder / name, name)
        requests = {(name, n): engine.submit(prompt(n), max_new_tokens=30, adapter=name) for name, n in expected}
        seen = Taps(record={"pattern": None})
        tapped = engine.submit(ids, max_new_tokens=1, adapter="red", taps=seen)
        assert {key: request.result().token_ids for key, request in requests.items()} == expected
        assert started.result().token_ids == expected[None, 9]
        tapped.result()
    for layer in range(2):
        assert torch.allclose(seen["pattern", layer], lone["pattern", layer], atol=1e-6)


def test_taps_that_change_the_model_change_only_their_request() -> None:
    model = llama()
    silent: dict[tuple[str, int | None], Any] = {("z", 0): lambda z: z * 0}
    plain = alone(model, prompt(6), max_new_tokens=20)
    with Engine(model) as engine:
        requests = [engine.submit(prompt(6), max_new_tokens=20, taps=taps) for taps in (None, Taps(replace=silent), None)]
        first, changed, last = (request.result().token_ids for request in requests)
    assert first == last == plain != changed


# ---------------------------------------------------------------------- prefixes


def test_a_second_turn_computes_only_what_is_new() -> None:
    model, twin = llama(), llama()
    turn = prompt(100)
    with Engine(model) as engine:
        end = engine.submit(turn, max_new_tokens=20).result()
        assert end.reused_tokens == 0
        second = [*turn, *end.token_ids, *prompt(10)]
        read: list[int] = []
        handle = model.register_forward_pre_hook(lambda m, a, kw: read.append(kw["input_ids"].shape[1]), with_kwargs=True)
        again = engine.submit(second, max_new_tokens=20).result()
        handle.remove()
        assert again.token_ids == alone(twin, second, max_new_tokens=20)
        assert again.reused_tokens == 119 and read[0] == len(second) - 119  # the newest token was never read
        # both at once, and one that parts ways in the middle
        other = [*second[:60], *prompt(30, 5)]
        asked = [second, other, second[:80]]
        requests = [engine.submit(ids, max_new_tokens=15) for ids in asked]
        for ids, request in zip(asked, requests, strict=True):
            assert request.result().token_ids == alone(twin, ids, max_new_tokens=15)
        assert engine.submit(other, max_new_tokens=1).result().reused_tokens >= 60


def test_what_was_padded_is_reused_without_its_padding() -> None:
    model, twin = llama(), llama()
    with Engine(model) as engine:
        long = engine.submit(prompt(200), max_new_tokens=400)
        short = engine.submit(prompt(30), max_new_tokens=10).result()
        second = [*prompt(30), *short.token_ids, 5, 6]
        end = engine.submit(second, max_new_tokens=10).result()
        assert end.reused_tokens == 39 and end.token_ids == alone(twin, second, max_new_tokens=10)
        long.cancel()


def test_both_lanes_share_what_they_read() -> None:
    """Guesses go on where a batch ended, a batch where guesses ended, beams where either did; taps see the whole prompt."""
    model, twin = llama(), llama()
    ways: list[dict[str, Any]] = [
        {"prompt_lookup_num_tokens": 6, "max_matching_ngram_size": 1},
        {},
        {"prompt_lookup_num_tokens": 6, "eos_token_id": list(range(0, WORDS, 3))},
        {"num_beams": 3},
        {"prompt_lookup_num_tokens": 3, "do_sample": True, "seed": 3},
    ]
    with Engine(model) as engine:
        text, known = prompt(60), 0
        for way in ways:
            end = engine.submit(text, max_new_tokens=20, **way).result()
            if "seed" not in way:
                assert end.token_ids == alone(twin, text, max_new_tokens=20, **way)
            assert end.reused_tokens == known, way
            known = known if "num_beams" in way else len(text) + len(end.token_ids) - 1
            text = [*text, *end.token_ids, *prompt(5)]
        seen = Taps(record={"resid_pre": [0]})
        end = engine.submit(text, max_new_tokens=1, taps=seen).result()
        assert end.reused_tokens == 0 and seen["resid_pre", 0].shape[1] == len(text)


def test_a_cancelled_answer_is_reused_too() -> None:
    model = llama()
    with Engine(model) as engine:
        request = engine.submit(prompt(50), max_new_tokens=2000)
        for event in request:
            if isinstance(event, TextDelta) and event.index == 10:
                break
        until(lambda: not engine.busy)
        assert engine.submit(prompt(50), max_new_tokens=1).result().reused_tokens == 49


def test_reuse_knows_adapters_and_weights(adapters: tuple[Path, dict[str | None, Any]]) -> None:
    folder, models = adapters
    with Engine(llama()) as engine:
        for name in ("red", "blue"):
            engine.load_adapter(folder / name, name)
        for name in (None, "red", "blue", "red", None):
            end = engine.submit(prompt(40), max_new_tokens=5, adapter=name).result()
            assert end.token_ids == alone(models[name], prompt(40), max_new_tokens=5)
        assert end.reused_tokens == 39

        def change(model: Any) -> None:
            with torch.no_grad():
                model.model.layers[0].mlp.up_proj.weight.mul_(-1)

        engine.run(change)
        change(models[None])
        end = engine.submit(prompt(40), max_new_tokens=5).result()
        assert end.reused_tokens == 0 and end.token_ids == alone(models[None], prompt(40), max_new_tokens=5)


def test_prefixes_are_bounded_by_bytes() -> None:
    model = llama()
    with Engine(model, prefix_bytes=200_000) as engine:
        for seed in range(12):
            engine.submit(prompt(80, seed), max_new_tokens=3).result()
        until(lambda: not engine.busy)
        assert 0 < engine.prefixes.nbytes <= 200_000 and len(engine.prefixes) < 12
        assert engine.submit(prompt(80, 11), max_new_tokens=1).result().reused_tokens == 79
        assert engine.submit(prompt(80, 0), max_new_tokens=1).result().reused_tokens == 0


def test_memory_for_an_answer_is_taken_once() -> None:
    with Engine(llama()) as engine:
        engine.submit(prompt(40), max_new_tokens=100).result()
        until(lambda: not engine.busy)
        token = 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width, bytes
        assert engine.prefixes.nbytes == (40 + 100) * token


@pytest.mark.soak
def test_a_thousand_requests_leave_memory_flat() -> None:
    import psutil

    model, dice = llama(), random.Random(0)
    with Engine(model, prefix_bytes=4 << 20) as engine:

        def hundred() -> int:
            requests = [engine.submit(prompt(dice.randint(1, 200), i), max_new_tokens=dice.randint(1, 30)) for i in range(100)]
            for i, request in enumerate(requests):
                request.cancel() if i % 7 == 0 else request.result()
            until(lambda: not engine.busy)
            return psutil.Process().memory_info().rss

        warm = [hundred() for _ in range(3)][-1]
        assert max(hundred() for _ in range(10)) < warm + 24e6
        assert engine.prefixes.nbytes <= 4 << 20
