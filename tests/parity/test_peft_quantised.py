"""Adapters beside weights in blocks: trained there (QLoRA), saved, used over the full base; and bottleneck adapters by their formula."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft_support import ROWS, adapters, base_of, first, inputs, near, shake
from safetensors.torch import load_file

import core
from core.errors import AdapterError
from core.modeling.quantized import QuantizedLinear

NAME = "SmolLM2-135M-Instruct"
ROW = "Question: what is the capital of France? Answer: a small village by the sea."


def test_qlora(tmp_path: Path) -> None:
    tokenizer = core.AutoTokenizer.from_pretrained(NAME)
    ids = torch.tensor([tokenizer(ROW)["input_ids"]])
    base = core.AutoModelForCausalLM.from_pretrained(NAME, quantization="gguf", dtype=torch.float32)
    full = core.AutoModelForCausalLM.from_pretrained(NAME, dtype=torch.float32)
    options: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    torch.manual_seed(0)
    model = core.get_peft_model(base, core.LoraConfig(**options))
    adapted = model.get_submodule("base_model.model.model.layers.0.mlp.down_proj")
    assert isinstance(adapted.base_layer, QuantizedLinear)
    trained, total = model.get_nb_trainable_parameters()
    beside_full = core.get_peft_model(full, core.LoraConfig(**options))
    assert (trained, total) == beside_full.get_nb_trainable_parameters()
    full = beside_full.unload()
    blocks = adapted.base_layer.blocks.clone()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=4e-3)
    losses = []
    model.train()
    for _ in range(3):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert torch.equal(adapted.base_layer.blocks, blocks)
    model.eval().save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) == trained
    model.requires_grad_(False)
    plain = full(ids).logits
    expected = core.PeftModel.from_pretrained(full, tmp_path)(ids).logits
    assert (model(ids).logits - expected).abs().max() < 1e-3  # the same numbers, in blocks or not
    assert (plain - expected).abs().max() > 1
    model.merge_adapter()
    assert (model(ids).logits - expected).abs().max() < 1e-3
    model.unmerge_adapter()
    assert torch.equal(adapted.base_layer.blocks, blocks)
    assert (model(ids).logits - expected).abs().max() < 1e-3


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_beside_our_own_blocks(form: str, tmp_path: Path) -> None:
    """LoRA, DoRA and IA3 beside blocks are those beside the weights that the blocks stand for."""
    wide = ROWS["llama"].values | {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    core.LlamaForCausalLM(core.LlamaConfig(**wide)).save_pretrained(tmp_path / "base")
    batch = inputs(ROWS["llama"])
    for config in (core.LoraConfig(), core.LoraConfig(use_dora=True), core.IA3Config()):
        base = core.LlamaForCausalLM.from_pretrained(tmp_path / "base", quantization=form).eval()
        other = core.LlamaForCausalLM.from_pretrained(tmp_path / "base").eval()
        for name, layer in base.named_modules():
            if isinstance(layer, QuantizedLinear):
                other.get_submodule(name).weight.data = layer.dequantize()
        pair = [core.get_peft_model(one, config).eval() for one in (base, other)]
        outputs = []
        for model in pair:
            shake(model)
            out = model(**batch).logits
            out.square().mean().backward()
            outputs.append(out)
        assert (outputs[0] - outputs[1]).abs().max() < 1e-3
        gradients = [{n: p.grad for n, p in model.named_parameters() if p.grad is not None} for model in pair]
        assert gradients[0].keys() == gradients[1].keys() != set()
        for name, gradient in gradients[0].items():
            assert (gradient - gradients[1][name]).abs().max() <= 1e-3 * max(1, gradient.abs().max().item()), name
    for scheme in ("pissa", "olora"):
        base = core.LlamaForCausalLM.from_pretrained(tmp_path / "base", quantization=form)
        with pytest.raises(AdapterError, match="quantised"):
            core.get_peft_model(base, core.LoraConfig(init_lora_weights=scheme))


PLACES = {"llama": ("self_attn.o_proj", "mlp.down_proj"), "gpt2": ("attn.c_proj", "mlp.c_proj"),
          "bert": ("attention.output.dense", "output.dense"), "t5": ("SelfAttention.o", "DenseReluDense.wo")}  # fmt: skip


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
@pytest.mark.parametrize("name", list(PLACES))
def test_bottleneck(name: str, placement: str, tmp_path: Path) -> None:
    adapters(name, "LoraConfig", tmp_path)
    batch = inputs(ROWS[name])
    config = core.BottleneckConfig(placement=placement, bottleneck_size=5, scaling=0.7, non_linearity="gelu")
    model = core.get_peft_model(base_of(name, tmp_path), config).eval()
    begun = first(model(**batch))
    plain = base_of(name, tmp_path)
    assert 0 < (begun - first(plain(**batch))).abs().max() < 0.5  # near the identity
    shake(model)
    expected = first(model(**batch))
    model.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    layers = {key.rpartition(".adapter_")[0] for key in saved}
    attention, feedforward = PLACES[name]
    assert any(layer.endswith(feedforward) for layer in layers)
    assert any(layer.endswith(attention) for layer in layers) == (placement == "houlsby")
    assert all(
        f"{layer}.adapter_{part}" in saved for layer in layers for part in ("down.weight", "down.bias", "up.weight", "up.bias")
    )
    for layer in layers:  # the formula, by hooks on a plain model
        down, up = ((saved[f"{layer}.adapter_{side}.weight"], saved[f"{layer}.adapter_{side}.bias"]) for side in ("down", "up"))

        def after(module: Any, args: Any, y: torch.Tensor, down: Any = down, up: Any = up) -> torch.Tensor:
            return y + 0.7 * (torch.nn.functional.gelu(y @ down[0].T + down[1]) @ up[0].T + up[1])

        plain.get_submodule(layer.removeprefix("base_model.model.")).register_forward_hook(after)
    near(first(plain(**batch)), expected)
    loaded = core.PeftModel.from_pretrained(base_of(name, tmp_path), tmp_path / "adapter")
    near(first(loaded(**batch)), expected)
    assert loaded.peft_config["default"].to_dict() == core.PeftConfig.from_pretrained(tmp_path / "adapter").to_dict()
    with pytest.raises(AdapterError, match="BOTTLENECK cannot be merged"):
        loaded.merge_and_unload()
    near(first(loaded.unload()(**batch)), first(base_of(name, tmp_path)(**batch)))
