"""Adapters in use: row by row, several at once, combined, generating, refused."""

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from peft_support import ROWS, adapters, base_of, first, inputs, near, shake

import core
from core import kernels
from core.errors import AdapterError


def two(name: str, folder: Path, **options: Any) -> tuple[Any, Any]:
    """The reference and ours with the adapters `default`, `other` and `third` of the same numbers, in evaluation mode."""
    theirs, _ = adapters(name, "LoraConfig", folder, **options)
    for seed, extra in ((11, "other"), (12, "third")):
        theirs.add_adapter(extra, peft.LoraConfig(**{"r": 8} | options))
        theirs.set_adapter(extra)
        torch.manual_seed(seed)
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.2)
    theirs.set_adapter("default")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(folder / "theirs")
    ours = core.PeftModel.from_pretrained(base_of(name, folder), folder / "theirs")
    ours.load_adapter(folder / "theirs" / "other", "other")
    ours.load_adapter(folder / "theirs" / "third", "third")
    return theirs.eval(), ours.eval()


OPTIONS = {"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "down_proj", "embed_tokens"]}


def test_row_by_row(tmp_path: Path) -> None:
    theirs, ours = two("llama", tmp_path, **OPTIONS, task_type="CAUSAL_LM")
    ids = torch.randint(5, 99, (5, 6))
    names = ["other", "__base__", "default", "other", "third"]
    expected = theirs(ids, adapter_names=names).logits
    near(ours(ids, adapter_names=names).logits, expected)
    for row, name in enumerate(names):  # and each row is what its adapter alone makes of it
        if name == "__base__":
            with ours.disable_adapter():
                alone = ours(ids[row : row + 1]).logits
        else:
            ours.set_adapter(name)
            alone = ours(ids[row : row + 1]).logits
        near(expected[row : row + 1], alone)
    wanted = theirs.generate(input_ids=ids, adapter_names=names, max_new_tokens=6, do_sample=False, pad_token_id=3)
    assert torch.equal(ours.generate(ids, adapter_names=names, max_new_tokens=6), wanted)
    with ours.adapter_rows(names):
        near(ours.get_base_model()(ids).logits, expected)
    doubled = ids.repeat_interleave(2, 0)  # two beams a row
    near(ours(doubled, adapter_names=names).logits[::2], expected)


def test_rows_of_other_methods(tmp_path: Path) -> None:
    """The reference mixes low-rank adapters only; here each row is compared with its adapter alone."""
    cases = (
        ("llama", core.IA3Config()),
        ("gpt2", core.BottleneckConfig(bottleneck_size=4)),
        ("llama", core.LoraConfig(use_dora=True)),
        ("bert-classes", core.LoraConfig(modules_to_save=["classifier"], task_type="SEQ_CLS")),
    )
    for number, (name, config) in enumerate(cases):
        adapters(name, "LoraConfig", tmp_path / str(number))
        model = core.get_peft_model(base_of(name, tmp_path / str(number)), config)
        model.add_adapter("other", config)
        for adapter in ("other", "default"):
            model.set_adapter(adapter)
            shake(model)
        for parameter in model.peft_config and model.parameters():
            parameter.data += 0.01 * torch.randn(parameter.shape) if parameter.requires_grad else 0
        model.eval()
        ids, names = torch.randint(5, 99, (3, 6)), ["other", "__base__", "default"]
        mixed = first(model(ids, adapter_names=names))
        for row, adapter in enumerate(("other", None, "default")):
            if adapter is None:
                with model.disable_adapter():
                    near(mixed[row], first(model(ids[row : row + 1]))[0])
            else:
                model.set_adapter(adapter)
                near(mixed[row], first(model(ids[row : row + 1]))[0], name)
        assert (mixed[0] - mixed[2]).abs().max() > 1e-4 or torch.equal(ids[0], ids[2])


@pytest.mark.parametrize("config", [core.LoraConfig(), core.LoraConfig(use_dora=True), core.IA3Config()])
def test_compiled_steps_know_adapters(config: Any) -> None:
    """What decodes a token for the plain model must see adapters, or leave them to the plain path."""
    values = ROWS["llama"].values | {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    model = core.get_peft_model(core.LlamaForCausalLM(core.LlamaConfig(**values)), config)
    shake(model)
    model.add_adapter("other", config)
    model.eval()
    ids, chosen = torch.randint(5, 99, (3, 6)), {"max_new_tokens": 6, "eos_token_id": 98}
    texts = []
    for names in (None, ["other", "default", "__base__"], None):
        found = model.generate(ids, adapter_names=names, **chosen)
        with kernels.off():
            assert torch.equal(found, model.generate(ids, adapter_names=names, **chosen))
        texts.append(found)
    assert torch.equal(texts[0], texts[2])
    assert not torch.equal(texts[0], texts[1])


def test_wrong_rows_are_refused(tmp_path: Path) -> None:
    _, ours = two("llama", tmp_path, **OPTIONS)
    ids = torch.randint(5, 99, (3, 6))
    with pytest.raises(AdapterError, match="3 rows"):
        ours(ids, adapter_names=["other", "default"])
    with pytest.raises(AdapterError, match="no adapter 'absent'"):
        ours(ids, adapter_names=["absent"] * 3)
    with pytest.raises(AdapterError, match="eval"):
        ours.train()(ids, adapter_names=["other"] * 3)
    ours.eval().merge_adapter()
    with pytest.raises(AdapterError, match="unmerge"):
        ours(ids, adapter_names=["other"] * 3)
    ours.unmerge_adapter()
    assert ours(ids).logits.shape == (3, 6, 99)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_several_at_once(name: str, tmp_path: Path) -> None:
    options = OPTIONS if name == "llama" else {"r": 4, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}
    theirs, ours = two(name, tmp_path, **options)
    ids = torch.randint(5, 99, (2, 6))
    plain = base_of(name, tmp_path)(ids).logits
    for chosen in (["default", "other"], ["third"], ["other", "third", "default"]):
        theirs.base_model.set_adapter(chosen)
        ours.set_adapter(chosen)
        near(ours(ids).logits, theirs(ids).logits)
        assert ours.active_adapters == chosen
    expected = theirs(ids).logits
    ours.merge_adapter()
    near(ours(ids).logits, expected)
    with ours.disable_adapter():
        near(ours(ids).logits, plain)
    near(ours(ids).logits, expected)
    ours.delete_adapter("other")
    theirs.delete_adapter("other")
    theirs.base_model.set_adapter(["third", "default"])
    assert ours.active_adapters == ["third", "default"]
    near(ours(ids).logits, theirs(ids).logits)
    assert not [key for key in ours.state_dict() if "other" in key]
    near(ours.unload()(ids).logits, plain)


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("linear", {}),
    ("cat", {}),
    ("svd", {}),
    ("svd", {"svd_rank": 2, "svd_clamp": 0.95}),
    ("ties", {"density": 0.5}),
    ("ties", {"density": 0.4, "majority_sign_method": "frequency"}),
    ("magnitude_prune", {"density": 0.3}),
    ("ties_svd", {"density": 0.5}),
    ("magnitude_prune_svd", {"density": 0.5}),
    ("dare_linear", {"density": 1.0}),  # below 1 by chance: see the next test
    ("dare_ties", {"density": 1.0}),
    ("dare_ties_svd", {"density": 1.0}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=[f"{kind}-{i}" for i, (kind, _) in enumerate(KINDS)])
def test_combined(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    theirs, ours = two("llama", tmp_path, **OPTIONS)
    ids = torch.randint(5, 99, (2, 6))
    for model in (theirs, ours):
        torch.manual_seed(4)
        model.add_weighted_adapter(["default", "other", "third"], [0.7, -0.4, 1.5], "mixed", combination_type=kind, **options)
        model.set_adapter("mixed")
    assert ours.peft_config["mixed"].r == theirs.peft_config["mixed"].r
    expected = theirs(ids).logits
    assert (ours(ids).logits - expected).abs().max() <= 1e-4 * expected.abs().max()
    ours.set_adapter("default")
    assert (ours(ids).logits - expected).abs().max() > 1e-2


def test_combined_by_chance(tmp_path: Path) -> None:
    """DARE keeps each number with the probability density and divides it by that."""
    _, ours = two("llama", tmp_path, **OPTIONS)
    ours.add_weighted_adapter(["default", "other"], [1.0, 0.0], "mixed", "dare_linear", density=0.4)
    own = core.get_peft_model_state_dict(ours, "mixed")
    ours.add_weighted_adapter(["default"], [1.0], "whole")
    ratios = torch.cat(
        [(own[key] / tensor).flatten() for key, tensor in core.get_peft_model_state_dict(ours, "whole").items() if "lora" in key]
    )
    kept = ratios != 0
    near(ratios[kept] / 10, torch.full_like(ratios[kept], 0.25))
    assert 0.35 < kept.float().mean() < 0.45


GENERATING: list[tuple[str, str, dict[str, Any]]] = [
    ("llama", "PrefixTuningConfig", {}),
    ("gpt2", "PrefixTuningConfig", {}),
    ("t5", "PrefixTuningConfig", {}),
    ("llama", "PromptTuningConfig", {}),
    ("gpt2", "PromptEncoderConfig", {"encoder_hidden_size": 4}),
    ("t5", "PromptTuningConfig", {}),
]


@pytest.mark.parametrize(("name", "kind", "options"), GENERATING)
def test_a_prompted_model_generates(name: str, kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    theirs, _ = adapters(name, kind, tmp_path, num_virtual_tokens=4, **options)
    ours = core.PeftModel.from_pretrained(base_of(name, tmp_path), tmp_path / "theirs").eval()
    ids = torch.randint(5, 99, (2, 6))
    mask = torch.ones_like(ids)
    chosen: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 3, "eos_token_id": 98}
    expected = theirs.generate(input_ids=ids, attention_mask=mask, **chosen)
    for use_cache in (True, False):
        found = ours.generate(input_ids=ids, attention_mask=mask, use_cache=use_cache, **chosen)
        assert torch.equal(found, expected)
    assert torch.equal(ours.generate(ids, **chosen), expected)
    with ours.disable_adapter():
        assert not torch.equal(ours.generate(ids, **chosen), expected)
    if name != "t5":  # a row padded on the left reads as it does alone; the reference counts positions otherwise
        padded = torch.cat([torch.full((2, 2), 3), ids], 1)
        own = ours.generate(padded, attention_mask=(padded != 3).long(), **chosen)
        assert torch.equal(own[:, 2:], expected)


def test_a_prompt_begins_as_a_text(tmp_path: Path) -> None:
    name = "SmolLM2-135M-Instruct"
    tokenizer = core.AutoTokenizer.from_pretrained(name)
    base = core.LlamaForCausalLM(core.LlamaConfig(**ROWS["llama"].values | {"vocab_size": len(tokenizer)}))
    text = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Good or bad?", "tokenizer_name_or_path": name}
    model = core.get_peft_model(base, core.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=9, **text))
    ids = tokenizer("Good or bad?")["input_ids"]
    near(model.get_prompt(1)[0], base.get_input_embeddings()(torch.tensor((ids * 9)[:9])))


def test_loaded_by_the_folder_alone(tmp_path: Path) -> None:
    for number, (name, kind) in enumerate((("bert-classes", "LoraConfig"), ("t5", "IA3Config"), ("bert", "LoraConfig"))):
        folder = tmp_path / str(number)
        theirs, _ = adapters(name, kind, folder)
        theirs.peft_config["default"].base_model_name_or_path = str(folder / "base")
        theirs.save_pretrained(folder / "theirs")
        loaded = core.AutoPeftModel.from_pretrained(folder / "theirs")
        assert type(loaded.get_base_model()).__name__ == ROWS[name].class_name
        batch = inputs(ROWS[name])
        near(first(loaded(**batch)), first(theirs(**batch)))
        assert loaded.peft_config["default"].peft_type == theirs.peft_config["default"].peft_type.value
    with pytest.raises(AdapterError, match="SEQ_CLS"):
        core.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "0" / "theirs")
    without_task, _ = adapters("llama", "LoraConfig", tmp_path / "3", task_type=None)
    without_task.peft_config["default"].base_model_name_or_path = str(tmp_path / "3" / "base")
    without_task.save_pretrained(tmp_path / "3" / "theirs")
    assert type(core.AutoPeftModel.from_pretrained(tmp_path / "3" / "theirs").get_base_model()) is core.LlamaForCausalLM


@pytest.mark.parametrize(
    ("name", "kind", "other", "difference"),
    [
        ("llama", "LoraConfig", "gpt2", "q_proj"),
        ("bert", "IA3Config", "llama", "output.dense"),
        ("llama", "PromptTuningConfig", "bert", "token_dim=36"),
        ("bert-classes", "LoraConfig", "bert", "bert.encoder"),
        ("llama", "PrefixTuningConfig", "gpt2", "token_dim=12"),
    ],
)  # fmt: skip
def test_another_base_is_refused(name: str, kind: str, other: str, difference: str, tmp_path: Path) -> None:
    options = {"num_virtual_tokens": 4} if "Prompt" in kind or "Prefix" in kind else {}
    adapters(name, kind, tmp_path / "a", **options)
    adapters(other, "IA3Config", tmp_path / "b")
    base = base_of(other, tmp_path / "b")
    if other == "bert" and "Prompt" in kind:
        base = core.BertModel(core.BertConfig(**ROWS["bert"].values | {"hidden_size": 24}))
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    with pytest.raises(AdapterError, match=difference):
        core.PeftModel.from_pretrained(base, tmp_path / "a" / "theirs")
    assert all(torch.equal(before[key], tensor) for key, tensor in base.state_dict().items() if key in before)


def test_mixed_methods_and_bad_names_are_refused(tmp_path: Path) -> None:
    _, ours = adapters("llama", "LoraConfig", tmp_path)
    with pytest.raises(AdapterError, match="IA3"):
        ours.add_adapter("other", core.IA3Config())
    for name in ("default", "a.b", "__base__", ""):
        with pytest.raises(AdapterError, match="name"):
            ours.add_adapter(name, core.LoraConfig())
    with pytest.raises(AdapterError, match="not supported"):
        core.LoraConfig(extra={"target_parameters": ["x"]})
    with pytest.raises(AdapterError, match="density"):
        ours.add_weighted_adapter(["default", "default"], [1.0, 1.0], "mixed", "ties")
    with pytest.raises(AdapterError, match="combination_type"):
        ours.add_weighted_adapter(["default", "default"], [1.0, 1.0], "mixed", "sum")
    with pytest.raises(AdapterError, match="LOHA"):
        core.PeftConfig.from_dict({"peft_type": "LOHA"})


# the reference's OLoRA does not know GPT-2's transposed weights
@pytest.mark.parametrize(("name", "scheme"), [("llama", "pissa"), ("llama", "olora"), ("gpt2", "pissa")])
def test_starts_from_the_weight(name: str, scheme: str, tmp_path: Path) -> None:
    """The model stays what it was, the adapter begins as the reference's, and files mean the same on either side."""
    options = {"r": 4, "lora_alpha": 6, "init_lora_weights": scheme}
    row = ROWS[name]
    batch = inputs(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapters(name, "LoraConfig", tmp_path)
        plain = base_of(name, tmp_path)(**batch).logits
        mine = core.get_peft_model(base_of(name, tmp_path), core.LoraConfig(**options)).eval()
        theirs = peft.get_peft_model(base_of(name, tmp_path, ours=False), peft.LoraConfig(**options)).eval()
    assert (mine(**batch).logits - plain).abs().max() <= 1e-4 * plain.abs().max()
    for key, tensor in theirs.state_dict().items():
        assert (mine.state_dict()[key] - tensor).abs().max() < 1e-4, key
    shake(theirs)
    theirs.save_pretrained(tmp_path / "again")
    loaded = core.PeftModel.from_pretrained(base_of(name, tmp_path), tmp_path / "again").eval()
    expected = theirs(**batch).logits
    assert (loaded(**batch).logits - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_longer_vocabulary_is_saved_with_the_adapter(tmp_path: Path) -> None:
    adapters("llama", "LoraConfig", tmp_path)
    base = base_of("llama", tmp_path)
    base.name_or_path = str(tmp_path / "base")
    base.resize_token_embeddings(105)
    model = core.get_peft_model(base, core.LoraConfig(task_type="CAUSAL_LM"))
    shake(model)
    model.eval().save_pretrained(tmp_path / "long")
    other = base_of("llama", tmp_path, ours=False)
    other.resize_token_embeddings(105)
    ids = torch.randint(5, 105, (2, 6))
    expected = model(ids).logits
    near(peft.PeftModel.from_pretrained(other, tmp_path / "long").eval()(ids).logits, expected)
    fresh = base_of("llama", tmp_path)
    fresh.resize_token_embeddings(105)
    near(core.PeftModel.from_pretrained(fresh, tmp_path / "long")(ids).logits, expected)
    with pytest.raises(AdapterError, match=r"\(105, 36\)"):
        core.PeftModel.from_pretrained(base_of("llama", tmp_path), tmp_path / "long")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_half_precision_trains_as_the_reference(checkpointing: bool, tmp_path: Path) -> None:
    """The base in bfloat16, adapters in float32, what they keep for backward in bfloat16: gradients as near to those of a base in
    float32 as the reference's are."""
    torch.manual_seed(0)
    row = ROWS["llama"]
    whole = transformers.LlamaForCausalLM(transformers.LlamaConfig(**row.values)).to(torch.bfloat16)
    whole.save_pretrained(tmp_path / "base")
    ways = ((transformers, peft, torch.bfloat16), (core, core, torch.bfloat16), (core, core, torch.float32))
    models = [
        adapter.get_peft_model(
            library.LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype),
            adapter.LoraConfig(r=4, target_modules="all-linear"),
        )
        for library, adapter, dtype in ways
    ]
    shake(models[0])
    for model in models:
        model.load_state_dict(models[0].state_dict())
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**inputs(row, labels=True)).loss.backward()
    theirs, ours, true = ({n: p.grad for n, p in model.named_parameters() if p.requires_grad} for model in models)
    assert theirs.keys() == ours.keys() == true.keys()
    assert all(gradient.dtype == torch.float32 for gradient in ours.values())
    far, near_by = (
        torch.stack([(found[name] - gradient).norm() / gradient.norm() for name, gradient in true.items()]).mean()
        for found in (theirs, ours)
    )
    assert near_by < 1.2 * far < 0.1


def test_a_prefix_and_checkpointing_do_not_go_together(tmp_path: Path) -> None:
    _, ours = adapters("llama", "PrefixTuningConfig", tmp_path, num_virtual_tokens=3)
    ours.train().gradient_checkpointing_enable()
    with pytest.raises(AdapterError, match="checkpointing"):
        ours(**inputs(ROWS["llama"]))
    _, encoder = adapters("bert", "PrefixTuningConfig", tmp_path, num_virtual_tokens=3)
    encoder.train().gradient_checkpointing_enable()
    first(encoder(**inputs(ROWS["bert"]))).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.prompt_encoder.parameters())
