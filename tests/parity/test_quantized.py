"""Weights in blocks: their numbers are the format's own library's, a model that keeps them computes what the unpacked one does."""

import copy
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import torch.nn.functional as F
import transformers
from support import close, randomise

import core
from core.checkpoints.blocks import SIZES, Blocks, quantize
from core.errors import ConfigError
from core.modeling import packed
from core.modeling.linear import Linear, together
from core.modeling.quantized import Quantized, QuantizedEmbedding, QuantizedLinear

VALUES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
}
IDS = torch.arange(2, 14).view(2, 6)


def folder_of(path: Path, **values: Any) -> Path:
    """A tiny Llama of the reference, saved."""
    torch.manual_seed(0)
    randomise(transformers.LlamaForCausalLM(transformers.LlamaConfig(**VALUES | values))).save_pretrained(path)
    return path


@pytest.mark.parametrize("form", SIZES)
def test_blocks_are_the_formats(form: str) -> None:
    weight = torch.randn(48, 96, generator=torch.Generator().manual_seed(1))
    kind = getattr(gguf.GGMLQuantizationType, form.upper())
    theirs = torch.from_numpy(gguf.quants.quantize(weight.numpy(), kind)).view(48, 3, SIZES[form])
    unpacked = torch.from_numpy(gguf.quants.dequantize(theirs.flatten(1).numpy(), kind))
    assert torch.equal(Blocks(form, theirs).dequantize(), unpacked)
    ours = quantize(weight, form)
    assert ours.shape == weight.shape
    assert (ours.dequantize() - weight).norm() <= 1.001 * (unpacked - weight).norm()
    again = quantize(ours.dequantize(), form).dequantize()
    assert (again - ours.dequantize()).abs().max() < 1e-6
    assert torch.equal(quantize(torch.zeros(2, 32), form).dequantize(), torch.zeros(2, 32))


@pytest.mark.parametrize("form", SIZES)
@pytest.mark.parametrize("rows", [1, 3, packed.ROWS, packed.ROWS + 1])
def test_products_are_the_unpacked_weights(form: str, rows: int) -> None:
    torch.manual_seed(2)
    bias = torch.nn.Parameter(torch.randn(48))
    layer = QuantizedLinear(quantize(torch.randn(48, 96), form), bias)
    x = torch.randn(rows, 96)
    close(layer(x), F.linear(x, layer.weight, bias))
    half = x.bfloat16()
    exact = F.linear(half.float(), layer.weight, bias)
    assert (layer(half).float() - exact).norm() < 0.006 * exact.norm()
    assert (layer in packed._views) == (rows <= packed.ROWS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_reach_the_input_and_the_bias(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    layer = QuantizedLinear(quantize(torch.randn(48, 96), "q4_1"), torch.nn.Parameter(torch.randn(48)))
    with torch.inference_mode():
        layer(torch.randn(1, 96, dtype=dtype))  # what generation packs, training may meet
    x = torch.randn(2, 5, 96, dtype=dtype, requires_grad=True)
    seed = torch.randn(2, 5, 48, dtype=dtype)
    layer(x).backward(seed)
    assert x.grad is not None and layer.bias is not None and layer.bias.grad is not None
    wanted = seed.float() @ layer.weight
    assert (x.grad.float() - wanted).norm() < (1e-5 if dtype is torch.float32 else 0.01) * wanted.norm()
    whole = seed.float().sum((0, 1))
    assert (layer.bias.grad - whole).norm() < (1e-5 if dtype is torch.float32 else 0.01) * whole.norm()


def test_a_gguf_keeps_its_blocks(smollm2: Path) -> None:
    plain = core.AutoModelForCausalLM.from_pretrained(smollm2)
    kept = core.AutoModelForCausalLM.from_pretrained(smollm2, quantization="gguf", dtype="float32")
    for name, tensor in plain.state_dict().items():
        module, _, leaf = name.rpartition(".")
        assert torch.equal(getattr(kept.get_submodule(module), leaf), tensor), name
    layers = [module for module in kept.modules() if isinstance(module, Quantized)]
    assert [module.form for module in layers].count("q4_1") == 210 and len(layers) == 212
    assert kept.lm_head.blocks is kept.model.embed_tokens.blocks and kept.lm_head.form == "q8_0"
    assert kept.num_parameters() == plain.num_parameters()
    ids = torch.tensor([[1, 9690, 198, 2683, 359]])
    with torch.no_grad():
        wanted = plain(ids).logits
        close(kept(ids).logits, wanted)
        half = kept.to(torch.bfloat16)(ids).logits
    assert half.dtype == torch.bfloat16
    assert (half.float() - wanted).norm() < 0.05 * wanted.norm()
    assert torch.equal(half.argmax(-1), wanted.argmax(-1))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_any_checkpoint_is_quantised(tmp_path: Path, quantization: str, tied: bool) -> None:
    folder = folder_of(tmp_path, tie_word_embeddings=tied)
    plain = core.LlamaForCausalLM.from_pretrained(folder)
    model = core.LlamaForCausalLM.from_pretrained(folder, quantization=quantization, dtype="float32")
    assert core.LlamaForCausalLM.from_pretrained(folder, quantization=quantization).dtype == torch.bfloat16
    assert model.model.layers[0].mlp.up_proj.form == {"int8": "q8_0", "int4": "q4_1"}[quantization]
    assert model.lm_head.form == "q8_0"
    assert isinstance(model.model.embed_tokens, QuantizedEmbedding if tied else torch.nn.Embedding)
    # the same model with the same numbers in plain matrices
    unpacked = copy.deepcopy(plain)
    for name, module in model.named_modules():
        if isinstance(module, Quantized):
            unpacked.get_submodule(name).weight = torch.nn.Parameter(module.dequantize())
    with torch.no_grad():
        close(model(IDS).logits, unpacked(IDS).logits)
        assert not torch.equal(model(IDS).logits, plain(IDS).logits)


def test_saved_it_is_a_plain_model_of_the_same_numbers(tmp_path: Path) -> None:
    model = core.LlamaForCausalLM.from_pretrained(folder_of(tmp_path / "plain", tie_word_embeddings=True), quantization="int4")
    model.save_pretrained(tmp_path / "saved")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        close(model.float()(IDS).logits, theirs(IDS).logits)


def test_what_modules_do_to_it_is_sane(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, tie_word_embeddings=True)
    model = core.LlamaForCausalLM.from_pretrained(folder, quantization="int4")
    with torch.no_grad():
        wanted = model(IDS).logits
        views = len(packed._views)
        twin = copy.deepcopy(model)
        assert len(packed._views) == views  # a copy brings none along
        assert torch.equal(twin(IDS).logits, wanted)
        assert twin.lm_head.blocks is twin.model.embed_tokens.blocks
        assert twin.lm_head.blocks is not model.lm_head.blocks
        # other numbers put into the blocks are seen by the next product
        other = core.LlamaForCausalLM.from_pretrained(folder_of(tmp_path / "b", tie_word_embeddings=True), quantization="int4")
        other.model.layers[0].mlp.up_proj.blocks.add_(1)
        twin.load_state_dict(other.state_dict())
        assert torch.equal(twin(IDS).logits, other(IDS).logits)
        assert not torch.equal(twin(IDS).logits, wanted)
        assert torch.equal(model(IDS).logits, wanted)
        assert model.float()(IDS).logits.dtype == torch.float32
    before = len(packed._views)
    del twin, other
    assert len(packed._views) < before  # a view goes with its layer


def test_nonsense_is_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with pytest.raises(ConfigError, match="quantization 'int3' is not known; known: gguf, int8, int4"):
        core.LlamaForCausalLM.from_pretrained(folder, quantization="int3")
    with pytest.raises(ConfigError, match="is no GGUF file"):
        core.LlamaForCausalLM.from_pretrained(folder, quantization="gguf")
    model = core.LlamaForCausalLM.from_pretrained(folder, quantization="int8")
    with pytest.raises(ConfigError, match="quantised and cannot be resized"):
        model.resize_token_embeddings(100)
    with pytest.raises(ConfigError, match="does not divide into blocks of 32"):
        quantize(torch.zeros(4, 33), "q8_0")
    narrow = folder_of(tmp_path / "narrow", hidden_size=24, intermediate_size=40, head_dim=6)
    with pytest.raises(ConfigError, match="no linear layer"):
        core.LlamaForCausalLM.from_pretrained(narrow, quantization="int4")


def test_layers_that_read_the_same_are_one_product_unless_watched() -> None:
    torch.manual_seed(4)
    layers = [QuantizedLinear(quantize(torch.randn(rows, 96), "q4_1")) for rows in (48, 16, 16)]
    x = torch.randn(2, 96).bfloat16()
    apart = [layer(x) for layer in layers]
    packed._views.clear()
    for one, alone in zip(together(x, *layers), apart, strict=True):
        assert torch.equal(one, alone)
    assert list(packed._views) == layers[:1]
    layers[1].blocks[0, 0, 1] += 1  # a scale of the second
    assert not torch.equal(together(x, *layers)[1], apart[1])
    seen: list[torch.Tensor] = []
    layers[2].register_forward_hook(lambda module, args, output: seen.append(output))
    assert torch.equal(together(x, *layers)[2], seen[0])
    grown = x.float().requires_grad_()
    sum(part.sum() for part in together(grown, *layers)).backward()
    assert grown.grad is not None


@pytest.mark.parametrize("bias", [False, True])
def test_one_bfloat16_row_is_the_product_of_many(bias: bool) -> None:
    torch.manual_seed(5)
    layer = Linear(96, 40, bias).bfloat16()
    x = torch.randn(1, 1, 96).bfloat16()
    found, exact = layer(x), F.linear(x.float(), layer.weight.float(), None if layer.bias is None else layer.bias.float())
    assert found.shape == (1, 1, 40) and found.dtype == torch.bfloat16
    assert (found.float() - exact).norm() < 0.005 * exact.norm()
    layer(x).sum().backward()
    assert layer.weight.grad is not None
