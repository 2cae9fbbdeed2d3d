"""Compiled decode steps against the plain path, which the other parity tests hold against the reference."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import ALL_ROWS
from rows.decoders import LLAMA
from support import Row, close, randomise

import core
from core import kernels
from core.checkpoints.blocks import quantize as quantize_matrix
from core.generation.step import decode_step, decode_steps
from core.modeling.cache import Cache
from core.modeling.model import put_module
from core.modeling.quantization import plain_state
from core.modeling.quantized import QuantizedEmbedding, QuantizedLinear
from core.modeling.taps import Taps, tapped
from core.models.llama import LlamaModel
from core.peft import LoraConfig, PeftModel

pytestmark = pytest.mark.skipif(kernels.reason_against() is not None, reason=str(kernels.reason_against()))


def make(row: Row, dtype: torch.dtype = torch.float32) -> Any:
    """A random model of a row."""
    config = core.AutoConfig.for_model(row.model_type, **row.values)
    return randomise(core.AutoModelForCausalLM.from_config(config)).to(dtype).eval()


def served(row: Row) -> bool:
    """Whether the row is one of LLaMA's relatives with a head; Mixtral's layers choose experts."""
    trunk = getattr(getattr(core, row.class_name), "trunk", object)
    return row.head == "CausalLM" and issubclass(trunk, LlamaModel) and row.model_type != "mixtral"


SERVED = [row for row in ALL_ROWS if served(row)]


def texts(batch: int, length: int, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids and a mask, each row but the first padded on the left by another number of tokens."""
    torch.manual_seed(batch)
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(1, batch):
        mask[row, : row % 4] = 0
    return torch.randint(5, vocabulary, (batch, length)), mask


@torch.inference_mode()
def logits_of(model: Any, ids: torch.Tensor, mask: torch.Tensor, prompt: int) -> list[torch.Tensor]:
    """The logits after each token from the prompt's last on, as the decode loop computes them."""
    cache = Cache()
    return [decode_step(model, ids[:, :end], mask[:, :end], cache) for end in range(prompt, ids.shape[1] + 1)]


@torch.inference_mode()
def logits_along(model: Any, ids: torch.Tensor, mask: torch.Tensor, prompt: int, most: int) -> list[torch.Tensor]:
    """The same of one text, some tokens a step, 2, 3, and so on up to `most`: after each token of a step, or after its last."""
    cache, found, end = Cache(), [decode_step(model, ids[:, :prompt], mask[:, :prompt], Cache())], prompt
    decode_step(model, ids[:, :prompt], mask[:, :prompt], cache)
    for new in range(2, most + 1):
        new = min(new, ids.shape[1] - end)
        if new:
            end += new
            found += decode_steps(model, ids[:, :end], mask[:, :end], cache, keep=1 if new % 3 == 0 else new).unbind(1)
    return found


def compare(model: Any, batch: int, length: int = 14, prompt: int = 6, check: Callable[..., None] = close) -> None:
    """Both paths over one text, then the compiled one again: its first step of all is computed on both. A single text also some tokens a
    step."""
    ids, mask = texts(batch, length, model.config.vocab_size)
    with kernels.off():
        expected = logits_of(model, ids, mask, prompt)
    for _ in range(2):
        found = logits_of(model, ids, mask, prompt)
    assert kernels.describe(model).startswith("compiled step"), kernels.describe(model)
    for ours, plain in zip(found, expected, strict=True):
        check(ours, plain)
    if batch == 1:
        with kernels.off():
            expected = logits_along(model, ids, mask, prompt, length)
        for ours, plain in zip(logits_along(model, ids, mask, prompt, length), expected, strict=True):
            check(ours, plain)


def nearly(ours: torch.Tensor, plain: torch.Tensor) -> None:
    """Where activations become two planes of bytes, about 15 bits, and random weights make much of little."""
    assert (ours - plain).abs().max() <= 3e-3 * max(1.0, plain.abs().max().item())


@pytest.mark.parametrize("row", SERVED, ids=str)
def test_every_decoder(row: Row) -> None:
    """Sizes that divide by nothing, grouped heads, biases, norms, windows, rotations, tied and untied; one row and several."""
    model = make(row)
    for batch in (1, 3):
        compare(model, batch)


SIZES: dict[str, Any] = LLAMA | {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "head_dim": 24,
    "vocab_size": 117,
}


@pytest.mark.parametrize("form", ["float32", "bfloat16", "float16", "int4", "int8"])
def test_every_form_of_weights(form: str) -> None:
    """1 to 31 rows, in blocks 64; the plain path has the same numbers in float32."""
    model = make(Row("llama", "CausalLM", form, SIZES | {"attention_bias": True}))
    if form.startswith("int"):
        model = quantize(model, form)
        plain = unpacked(model)
    else:
        model = model.to(getattr(torch, form))
        plain = copy.deepcopy(model).float()
    logits_of(model, *texts(2, 8, 117), prompt=6)  # the first step, on both paths
    for batch in (1, 3, 8, 16, 31, *((64,) if form.startswith("int") else ())):
        ids, mask = texts(batch, 12, 117)
        with kernels.off():
            expected = logits_of(plain, ids, mask, 6)
        for ours, theirs in zip(logits_after(model, plain, ids, mask, 6), expected[1:], strict=True):
            (nearly if form.startswith("int") else close)(ours, theirs)
    assert kernels.describe(model).startswith("compiled step")


def whole_prompts() -> bool:
    """Whether blocks are multiplied as bytes here, with any number of tokens."""
    from core.kernels.integers import CHOSEN

    return CHOSEN is not None


@torch.inference_mode()
def logits_after(model: Any, prefill: Any, ids: torch.Tensor, mask: torch.Tensor, prompt: int) -> list[torch.Tensor]:
    """As `logits_of`, by compiled steps alone, the prompt read by another model."""
    cache, found = Cache(), []
    decode_step(prefill, ids[:, :prompt], mask[:, :prompt], cache)
    for end in range(prompt + 1, ids.shape[1] + 1):
        step = kernels.step_for(model, mask[:, :end], cache)
        assert step is not None, kernels.describe(model)
        found.append(step(ids[:, end - 1 : end])[:, -1])
    return found


by_bytes = pytest.mark.skipif(not whole_prompts(), reason="this processor has no products of bytes")


@by_bytes
@pytest.mark.parametrize("form", ["int4", "int8"])
@pytest.mark.parametrize("window", [None, 40, 130])
@torch.inference_mode()
def test_whole_prompts_are_read_by_the_step(form: str, window: int | None) -> None:
    """From a text's beginning, after others, and after a rollback: a token, a tile, a part of a step, parts and chunks of positions; the
    logits of the last token or of some, and then tokens one by one."""
    sizes = SIZES | {"sliding_window": window, "max_position_embeddings": 512, "attention_bias": True}
    model = quantize(make(Row("mistral", "CausalLM", form, sizes)), form).float()
    plain = unpacked(model)
    logits_of(model, *texts(1, 8, 117), prompt=6)  # the first step, on both paths
    ids, mask = texts(1, 330, 117)
    for pieces in ((1, 1), (7, 1, 20), (63, 9), (64, 1), (65, 120, 1), (300, 1, 1), (100, 16, 17, 150)):
        ours, theirs, end = model.new_cache(), plain.new_cache(), 0
        for new in pieces:
            end += new
            keep = min(new, 1 + new % 70)
            step = kernels.step_for(model, mask[:, :end], ours)
            assert step is not None, kernels.describe(model)
            found = step(ids[:, end - new : end], keep)
            with kernels.off():
                expected = decode_steps(plain, ids[:, :end], mask[:, :end], theirs, keep=keep)
            nearly(found, expected)
            if new == 20:
                ours.trim(end := end - 5)
                theirs.trim(end)
        assert ours.get_seq_length() == theirs.get_seq_length() == end


@by_bytes
@torch.inference_mode()
def test_what_a_prompt_leaves_in_the_cache() -> None:
    """Keys and values in the model's dtype, as the plain path keeps them, and nearer to those of float32."""
    model = quantize(make(Row("llama", "CausalLM", "int8", SIZES)), "int8")
    (ids, mask), exact, found, plain = texts(1, 70, 117), Cache(), Cache(), Cache()
    assert kernels.step_for(model, mask, Cache()) is None  # a model's very first prompt is PyTorch's
    assert kernels.step_for(model, mask, Cache()) is not None
    logits_of(model, *texts(1, 8, 117), prompt=6)  # the first step, on both paths
    decode_step(model, ids, mask, found)
    with kernels.off():
        decode_step(model, ids, mask, plain)
        decode_step(unpacked(model), ids, mask, exact)
    for ours, theirs, wanted in zip(found, plain, exact, strict=True):
        for one, other, right in zip(ours, theirs, wanted, strict=True):
            assert one.shape == other.shape and one.dtype == other.dtype == torch.bfloat16
            assert (one - right).abs().mean() < (other - right).abs().mean()


def quantize(model: Any, form: str) -> Any:
    """The model saved and loaded with its matrices in blocks."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return type(model).from_pretrained(folder, quantization=form)


def unpacked(model: Any) -> Any:
    """The same numbers in float32."""
    plain = type(model)(model.config).eval()
    plain.load_state_dict(plain_state(model))
    return plain


@torch.inference_mode()
def test_a_token_beyond_a_table_in_blocks_is_an_error() -> None:
    """As it is for a plain table; memory behind it is not read."""
    model, cache = quantize(make(Row("llama", "CausalLM", "int8", SIZES | {"tie_word_embeddings": True})), "int8"), Cache()
    assert isinstance(model.get_input_embeddings(), QuantizedEmbedding)
    ids, mask = texts(1, 12, 117)
    logits_of(model, ids, mask, prompt=6)
    decode_step(model, ids[:, :11], mask[:, :11], cache)
    step = kernels.step_for(model, mask, cache)
    assert step is not None, kernels.describe(model)
    with pytest.raises(IndexError, match="no token 117 among 117"):
        step(torch.tensor([[117]]))


def test_q4_0_and_rows_that_fill_no_group() -> None:
    """The third form of blocks, which only files have; 117 and 24 · 2 outputs."""
    model = make(Row("llama", "CausalLM", "q4_0", SIZES))
    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and name != "lm_head":
            put_module(model, name, QuantizedLinear(quantize_matrix(layer.weight, "q4_0")).eval())
    for batch in (1, 5):
        compare(model, batch, check=nearly)
    assert "Q4_0" in kernels.describe(model)


@pytest.mark.parametrize(("dtype", "step"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
@pytest.mark.parametrize(
    "sizes", [{}, {"num_attention_heads": 7, "num_key_value_heads": 1, "head_dim": 72}], ids=["pairs", "sevens"]
)
@torch.inference_mode()
def test_half_precision_in_the_cache(dtype: torch.dtype, step: float, sizes: dict[str, int]) -> None:
    """One token over keys and values in half precision: read as they are, and the new ones rounded to the nearest."""
    model = make(Row("llama", "CausalLM", "half", SIZES | sizes))
    (ids, mask), first = texts(3, 14, 117), Cache()
    logits_of(model, ids, mask, 6)
    decode_step(model, ids[:, :-1], mask[:, :-1], first)
    half = Cache.of([(k.to(dtype), v.to(dtype)) for k, v in first])  # type: ignore[misc]
    exact = Cache.of([(k.float(), v.float()) for k, v in half])  # type: ignore[misc]
    with kernels.off():
        expected = decode_step(model, ids, mask, exact)
    compiled = kernels.step_for(model, mask, half)
    assert compiled is not None
    off = (compiled(ids[:, -1:])[:, -1] - expected).abs().max() / expected.abs().max()
    assert off < 8 * step
    for ours, theirs in zip(half[0], exact[0], strict=True):
        assert (ours[:, :, :-1] == theirs[:, :, :-1]).all()
        close(ours[:, :, -1].float(), theirs[:, :, -1].to(dtype).float())


@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 1), (6, 2), (8, 2), (6, 1), (7, 1), (5, 5)])
def test_groups_of_every_width(heads: int, kv_heads: int) -> None:
    """Three, four, six and seven heads to a group, and one; 64 and 8 numbers wide, over a chunk's edge."""
    sizes = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 72, "max_position_embeddings": 256}
    model = make(Row("llama", "CausalLM", "group", SIZES | sizes))
    for batch in (1, 3):
        compare(model, batch, 136, 122)


def test_long_texts_cross_chunks_and_windows() -> None:
    """Positions are read in chunks of 128; a window's edge lies within one, on its edge, and before the text."""
    for window, length in ((None, 300), (130, 300), (128, 390)):
        model = make(Row("mistral", "CausalLM", "long", SIZES | {"sliding_window": window, "max_position_embeddings": 512}))
        for batch in (1, 2):
            compare(model, batch, length, length - 20)
            assert kernels.describe(model).startswith("compiled step")
    compare(model, 1, 131, 120)


def test_adapters_are_added_without_merging() -> None:
    """Low-rank additions of one adapter, of another, of none, and merged."""
    model = make(Row("llama", "CausalLM", "adapted", SIZES))
    adapted = PeftModel(model, LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "o_proj", "gate_proj", "down_proj"]))
    adapted.add_adapter("other", LoraConfig(r=8, lora_alpha=4, target_modules="all-linear"))
    randomise(adapted)
    seen = []
    for name in ("default", "other"):
        adapted.set_adapter(name)
        adapted.eval()
        compare(model, 3)
        seen.append(logits_of(model, *texts(1, 8, 117), 6)[-1])
    with adapted.disable_adapter():
        compare(model, 1)
        seen.append(logits_of(model, *texts(1, 8, 117), 6)[-1])
    adapted.merge_adapter()
    compare(model, 1)
    assert not torch.allclose(seen[0], seen[1], atol=1e-2) and not torch.allclose(seen[0], seen[2], atol=1e-2)


def test_adapters_that_take_turns_are_planned_once(caplog: pytest.LogCaptureFixture) -> None:
    """One model, a conversation with each adapter, a token each in turn; written to, all is planned anew."""
    model = make(Row("llama", "CausalLM", "turns", SIZES))
    adapted = PeftModel(model, LoraConfig(r=3, target_modules=["q_proj", "down_proj"]))
    adapted.add_adapter("other", LoraConfig(r=5, target_modules=["v_proj"]))
    randomise(adapted).eval()
    ids, mask = texts(1, 14, 117)
    expected = {}
    for name in ("default", "other"):
        adapted.set_adapter(name)
        with kernels.off():
            expected[name] = logits_of(model, ids, mask, 6)
    with caplog.at_level("INFO", "core.kernels.service"), torch.inference_mode():
        caches = {name: model.new_cache() for name in expected}
        for end in range(6, 15):
            for name, cache in caches.items():
                adapted.set_adapter(name)
                close(decode_step(model, ids[:, :end], mask[:, :end], cache), expected[name][end - 6])
        assert caplog.text.count("compiled step") == 2
    with torch.no_grad():
        model.model.norm.weight.mul_(2.0)
    compare(model, 1)


PROMPTS = ("The capital of France is", "def fibonacci(n):", "Once upon a time there was a robot who")


def test_greedy_text_of_a_real_file_is_that_of_float32(smollm2: Path) -> None:
    """SmolLM2's Q4_1 file, 64 tokens of several prompts: from its blocks, and all of it unpacked to float32 on the plain path."""
    plain = core.AutoModelForCausalLM.from_pretrained(smollm2)
    packed = core.AutoModelForCausalLM.from_pretrained(smollm2, quantization="gguf", dtype="float32")
    tokenizer = core.AutoTokenizer.from_pretrained(smollm2)
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        asked = {"max_new_tokens": 64, "min_new_tokens": 64, "do_sample": False, "repetition_penalty": 1.0}
        with kernels.off():
            expected = plain.generate(ids, **asked)
        assert torch.equal(packed.generate(ids, **asked), expected), prompt
    assert "Q4_1, Q8_0" in kernels.describe(packed)


def test_what_is_left_to_the_plain_path() -> None:
    """Taps, hooks, gradients, training, gaps in a mask, other tokens in the cache, too many rows."""
    model, cache, (ids, mask) = make(Row("llama", "CausalLM", "plain", SIZES)), Cache(), texts(1, 8, 117)
    with torch.inference_mode():
        decode_step(model, ids[:, :-1], mask[:, :-1], cache)
        assert kernels.step_for(model, mask, cache) is not None
        with kernels.off():
            assert kernels.step_for(model, mask, cache) is None
        with tapped(Taps(record={"z": None})):
            assert kernels.step_for(model, mask, cache) is None
        assert kernels.step_for(model, mask[:, :-1], cache) is None and kernels.step_for(model, mask, Cache()) is None
        gap = mask.clone()
        gap[:, 3] = 0
        assert kernels.step_for(model, gap, cache) is None
        assert kernels.step_for(model.train(), mask, cache) is None
        model.eval()
        hook = model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
        assert kernels.step_for(model, mask, copy.deepcopy(cache)) is None and "hooks" in kernels.describe(model)
        hook.remove()
        assert kernels.step_for(model, mask, copy.deepcopy(cache)) is not None
        long = torch.ones(1, 7 + 33, dtype=torch.long)
        assert kernels.step_for(model, long, cache) is None and kernels.step_for(model, long[:, 1:], cache) is not None
        many, crowd = Cache(), texts(33, 8, 117)
        decode_step(model, crowd[0][:, :-1], crowd[1][:, :-1], many)
        assert kernels.step_for(model, crowd[1], many) is None
    assert kernels.step_for(model, mask, cache) is None  # gradients may be wanted


def test_changed_weights_are_noticed() -> None:
    """Those that are read in place, those that are copied, and a layer put in another's place."""
    model = make(Row("llama", "CausalLM", "changed", SIZES))
    compare(model, 1)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(1.5)
        model.model.norm.weight.add_(0.5)
    compare(model, 1)
    model.model.layers[1].self_attn.k_proj = torch.nn.Linear(64, 48).eval()
    compare(model, 1)


def test_a_layer_that_only_looks_alike_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    """The first step is computed on both paths: here one layer's MLP does something of its own."""
    model = make(Row("llama", "CausalLM", "odd", SIZES))
    mlp = model.model.layers[1].mlp
    mlp.forward = lambda x: mlp.down_proj(mlp.gate_proj(x))
    ids, mask = texts(1, 9, 117)
    with kernels.off():
        expected = logits_of(model, ids, mask, 6)
    for ours, plain in zip(logits_of(model, ids, mask, 6), expected, strict=True):
        close(ours, plain)
    assert "off the plain path" in kernels.describe(model) and "off the plain path" in caplog.text


@pytest.mark.parametrize("strays", [2, 3])
def test_half_precision_is_given_up_after_three_texts_not_one(strays: int) -> None:
    """On some texts bfloat16 itself is as far from float32 as a step may be from it (SmolLM2: one token ninety times). The plain path
    goes on with such a text, and the next one is asked."""
    model, (ids, mask) = make(Row("llama", "CausalLM", "strays", SIZES), torch.bfloat16), texts(1, 9, 117)
    mlp = model.model.layers[1].mlp
    mlp.forward = lambda x: mlp.down_proj(mlp.gate_proj(x))
    for text in range(strays):
        with kernels.off():
            expected = logits_of(model, ids, mask, 6)
        assert all(map(torch.equal, logits_of(model, ids, mask, 6), expected))
        assert kernels.describe(model).startswith("compiled step" if text < 2 else "plain PyTorch: the compiled step is")
    del mlp.forward
    with kernels.off():
        expected = logits_of(model, ids, mask, 6)
    same = [torch.equal(ours, plain) for ours, plain in zip(logits_of(model, ids, mask, 6), expected, strict=True)]
    assert all(same) if strays == 3 else not any(same[2:])  # of a proven step the first answer is the plain path's
