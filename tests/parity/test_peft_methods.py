"""Every method against peft on every head: files both ways, outputs, gradients, counts."""

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_support import ROWS, adapters, base_of, first, inputs, near, same_files

import core
from core.errors import AdapterError

LORA, IA3 = "LoraConfig", "IA3Config"
PREFIX, PROMPT, P = "PrefixTuningConfig", "PromptTuningConfig", "PromptEncoderConfig"
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *[(name, LORA, {"r": 4, "lora_alpha": 12}) for name in ROWS],
    *[(name, IA3, {}) for name in ROWS],
    *[(name, PREFIX, {"num_virtual_tokens": 3}) for name in ROWS if name != "gpt2-tokens"],
    *[(name, PROMPT, {"num_virtual_tokens": 3}) for name in ROWS],
    *[(name, P, {"num_virtual_tokens": 3, "encoder_hidden_size": 5}) for name in ROWS],
    ("llama", PREFIX, {"num_virtual_tokens": 3, "prefix_projection": True, "encoder_hidden_size": 6}),
    ("gpt2", P, {"num_virtual_tokens": 3, "encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 5}),
    ("llama", PROMPT, {"num_virtual_tokens": 3, "prompt_tuning_init": "SAMPLE_VOCAB"}),
    ("llama", LORA, {"use_dora": True, "target_modules": ["q_proj", "down_proj", "embed_tokens"]}),
    ("gpt2", LORA, {"use_dora": True, "target_modules": ["c_attn", "wte"], "fan_in_fan_out": True}),
    ("llama", LORA, {"use_rslora": True, "r": 4, "target_modules": ["embed_tokens", "v_proj"]}),
    ("llama", LORA, {"rank_pattern": {"down_proj": 2, r".*\.0\.mlp\.up_proj": 3}, "alpha_pattern": {"q_proj": 20}, "target_modules": "all-linear"}),
    ("llama", LORA, {"layers_to_transform": [0, 2], "target_modules": ["q_proj", "o_proj"]}),
    ("llama", LORA, {"layers_to_transform": 1, "layers_pattern": "layers", "target_modules": ["q_proj"]}),
    ("llama", LORA, {"exclude_modules": r".*\.1\..*", "target_modules": ["q_proj", "k_proj"]}),
    ("llama", LORA, {"target_modules": "all-linear", "exclude_modules": ["k_proj"]}),
    ("llama-classes", LORA, {"target_modules": "all-linear"}),
    ("gpt2", LORA, {"target_modules": "all-linear"}),
    ("bert", LORA, {"target_modules": "all-linear"}),
    ("t5", LORA, {"target_modules": "all-linear"}),
    ("bert", LORA, {"bias": "all", "target_modules": ["query"]}),
    ("bert-classes", LORA, {"bias": "all", "target_modules": ["query"]}),
    ("bert-classes", LORA, {"bias": "lora_only", "target_modules": ["query", "intermediate.dense"]}),
    ("bert-classes", LORA, {"modules_to_save": ["pooler"]}),
    ("llama", LORA, {"modules_to_save": ["lm_head", "norm"]}),
    ("gpt2", IA3, {"target_modules": ["c_attn", "mlp.c_fc"], "feedforward_modules": ["mlp.c_fc"]}),
    ("llama", IA3, {"target_modules": r".*\.(k_proj|up_proj)", "feedforward_modules": r".*up_proj"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "options"), CASES, ids=[f"{n}-{k}-{i}" for i, (n, k, _) in enumerate(CASES)])
def test_both_ways(name: str, kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    row = ROWS[name]
    theirs, mine = adapters(name, kind, tmp_path, **options)
    prompts = kind in (PREFIX, PROMPT, P)
    batch = inputs(row)
    if prompts and name == "llama-classes":
        batch.pop("attention_mask")  # the reference then picks a padding's logits
    if prompts:
        _same_gradients(name, theirs, mine)
    with torch.no_grad():
        expected = first(theirs(**batch))
    loaded = core.PeftModel.from_pretrained(base_of(name, tmp_path), tmp_path / "theirs", is_trainable=not prompts).eval()
    near(first(loaded(**batch)), expected)
    if not prompts:
        _same_gradients(name, theirs, loaded)
    loaded.save_pretrained(tmp_path / "ours")
    if options.get("bias") != "all" or "classes" not in name:  # there the reference says a trained layer's bias three times
        same_files(tmp_path / "theirs", tmp_path / "ours")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        back = peft.PeftModel.from_pretrained(base_of(name, tmp_path, ours=False), tmp_path / "ours").eval()
    near(first(back(**batch)), expected)
    plain = first(base_of(name, tmp_path)(**batch))
    with loaded.disable_adapter():
        near(first(loaded(**batch)), plain) if options.get("bias", "none") == "none" else None
    near(first(loaded(**batch)), expected)
    if prompts:
        with pytest.raises(AdapterError, match="merged"):
            loaded.merge_adapter()
        return
    assert first(loaded(**batch)).shape != plain.shape or (expected - plain).abs().max() > 1e-3
    for _ in range(2):
        loaded.merge_adapter()
        near(first(loaded(**batch)), expected)
        loaded.unmerge_adapter()
        near(first(loaded(**batch)), expected)
    alone = loaded.merge_and_unload()
    assert type(alone) is type(base_of(name, tmp_path))
    near(first(alone(**batch)), expected)


def _same_gradients(name: str, theirs: Any, ours: Any) -> None:
    """One step's loss and gradients, from the same numbers. The reference's are put into ours first."""
    own, other = dict(ours.named_parameters()), dict(theirs.named_parameters())
    wanted = {n for n, p in theirs.named_parameters() if p.requires_grad}
    assert {n for n, p in ours.named_parameters() if p.requires_grad} == wanted
    with torch.no_grad():
        for parameter in wanted:
            own[parameter].copy_(other[parameter])
    batch = inputs(ROWS[name], labels=ROWS[name].head != "Model")
    prompts = theirs.active_peft_config.is_prompt_learning
    if prompts and name == "llama-classes":
        batch.pop("attention_mask")
    if prompts and ROWS[name].head == "TokenClassification":
        batch.pop("labels")  # the reference forgets that the prompt has none
    losses = []
    for model in (theirs.eval(), ours.eval()):
        model.zero_grad()
        out = model(**batch)
        loss = out["loss"] if "labels" in batch or "start_positions" in batch else first(out).square().mean()
        loss.backward()
        losses.append(loss.detach())
    near(losses[1], losses[0])
    for parameter in wanted:
        if other[parameter].grad is None:  # a pooler nobody reads
            assert own[parameter].grad is None
        else:
            near(own[parameter].grad, other[parameter].grad, parameter)
