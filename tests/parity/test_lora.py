"""LoRA against peft: files both ways, outputs and gradients equal, the same line of counts."""

import contextlib
import io
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from rows.decoders import GPT2, LLAMA
from rows.encoders import BERT
from support import Row, close, fresh_pair

import core
from core.errors import AdapterError

CASES: list[tuple[Row, dict[str, Any]]] = [
    (Row("llama", "CausalLM", "", LLAMA), {"target_modules": ["q_proj", "v_proj"], "lora_alpha": 32}),
    (Row("llama", "CausalLM", "", LLAMA), {"target_modules": "all-linear", "use_rslora": True}),
    (Row("llama", "CausalLM", "", LLAMA), {"target_modules": r".*layers\.[01]\.mlp\.(up|down)_proj"}),
    (Row("gpt2", "CausalLM", "", GPT2), {"target_modules": None, "fan_in_fan_out": True}),
    (Row("bert", "SequenceClassification", "", BERT | {"num_labels": 3}), {"modules_to_save": ["classifier"]}),
    (Row("bert", "Model", "", BERT), {"target_modules": ["query", "attention.output.dense"]}),
]


@pytest.mark.parametrize(("row", "options"), CASES)
def test_both_ways(row: Row, options: dict[str, Any], tmp_path: Path) -> None:
    reference, ours = fresh_pair(row, tmp_path / "base")
    theirs = peft.get_peft_model(reference, peft.LoraConfig(r=4, **options))
    adapted = core.get_peft_model(ours, core.LoraConfig(r=4, **options))
    lines = []
    for model in (theirs, adapted):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            model.print_trainable_parameters()
        lines.append(out.getvalue())
    assert lines[0] == lines[1]
    torch.manual_seed(3)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    base = getattr(core, row.auto).from_pretrained(tmp_path / "base")
    loaded = core.PeftModel.from_pretrained(base, tmp_path / "theirs", is_trainable=True).eval()
    ids = torch.randint(5, 99, (2, 7))
    expected, found = theirs(ids)[0], loaded(ids)[0]
    close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    gradients = {n: p.grad for n, p in loaded.named_parameters() if p.grad is not None}
    wanted = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    assert wanted.keys() == gradients.keys()
    for name, gradient in wanted.items():
        close(gradients[name], gradient)
    loaded.save_pretrained(tmp_path / "ours")
    from safetensors.torch import load_file

    a, b = (load_file(tmp_path / side / "adapter_model.safetensors") for side in ("theirs", "ours"))
    assert a.keys() == b.keys()
    back = peft.PeftModel.from_pretrained(getattr(transformers, row.auto).from_pretrained(tmp_path / "base"), tmp_path / "ours")
    close(back(ids)[0], expected)
    with loaded.disable_adapter():
        plain = loaded(ids)[0]
    assert (plain - found).abs().max() > 1e-3
    loaded.merge_adapter()
    close(loaded(ids)[0], expected)
    loaded.unmerge_adapter()
    close(loaded(ids)[0], expected)
    close(loaded.merge_and_unload()(ids)[0], expected)


def test_an_adapter_of_another_architecture_is_refused(tmp_path: Path) -> None:
    _, llama = fresh_pair(Row("llama", "CausalLM", "", LLAMA), tmp_path / "llama")
    _, gpt2 = fresh_pair(Row("gpt2", "CausalLM", "", GPT2), tmp_path / "gpt2")
    core.get_peft_model(llama, core.LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="q_proj"):
        core.PeftModel.from_pretrained(gpt2, tmp_path / "adapter")
    smaller = core.AutoModelForCausalLM.from_config(core.LlamaConfig(**LLAMA | {"hidden_size": 24}))
    with pytest.raises(AdapterError, match="asks for"):
        core.PeftModel.from_pretrained(smaller, tmp_path / "adapter")
