"""Which layer goes to which device, as a table; and activations that follow them."""

import pytest
import torch

import core
from core.errors import CheckpointError, ConfigError
from core.modeling.placement import free_memory, layers_of, moved, plan

CONFIG = core.LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, tie_word_embeddings=True
)
LAYERS = {"l.0": 10, "l.1": 10, "l.2": 10, "l.3": 10}


@pytest.mark.parametrize(
    ("outside", "memory", "expected"),
    [
        (5, {"cuda:0": 100, "cpu": 100}, "cuda:0 cuda:0 cuda:0 cuda:0 cuda:0"),
        (5, {"cuda:0": 45, "cpu": 100}, "cuda:0 cuda:0 cuda:0 cuda:0 cuda:0"),
        (5, {"cuda:0": 44, "cpu": 100}, "cuda:0 cuda:0 cuda:0 cuda:0 cpu"),
        (5, {"cuda:0": 25, "cuda:1": 12, "cpu": 100}, "cuda:0 cuda:0 cuda:0 cuda:1 cpu"),
        (5, {"cuda:0": 14, "cuda:1": 100, "cpu": 100}, "cuda:1 cuda:1 cuda:1 cuda:1 cuda:1"),  # the rest and one layer do not fit
        (5, {"cuda:0": 15, "cuda:1": 9, "cpu": 30}, "cuda:0 cuda:0 cpu cpu cpu"),  # a device that fits no layer is passed over
        (0, {"cpu": 40}, "cpu cpu cpu cpu cpu"),
    ],
)
def test_plan(outside: int, memory: dict[str, int], expected: str) -> None:
    assert list(plan(LAYERS, outside, memory).values()) == expected.split()


@pytest.mark.parametrize("memory", [{"cuda:0": 20, "cpu": 20}, {"cpu": 3}])
def test_what_fits_nowhere_is_said(memory: dict[str, int]) -> None:
    with pytest.raises(CheckpointError, match="do not fit"):
        plan(LAYERS, 5, memory)


def test_layers_are_the_outermost_lists() -> None:
    with torch.device("meta"):
        model = core.LlamaForCausalLM(CONFIG)
    assert list(layers_of(model)) == ["model.layers.0", "model.layers.1", "model.layers.2"]
    assert free_memory({0: "1GB", "cpu": 5}) == {"cuda:0": 10**9, "cpu": 5}


@pytest.fixture
def folder(tmp_path: object) -> str:
    torch.manual_seed(0)
    core.LlamaForCausalLM(CONFIG).save_pretrained(str(tmp_path))
    return str(tmp_path)


def test_a_dict_places_modules_and_activations_follow(folder: str) -> None:
    """The meta device stands for a second one: it tells where tensors are, and computes shapes."""
    places = {"": "cpu", "model.layers.1": "meta", "model.layers.2": "meta", "model.norm": "meta"}
    model = core.AutoModelForCausalLM.from_pretrained(folder, device_map=places)
    found = {name: parameter.device.type for name, parameter in model.named_parameters()}
    assert {name for name, device in found.items() if device == "meta"} == {
        n for n in found if "s.1." in n or "s.2." in n or n == "model.norm.weight"
    }
    assert model.lm_head.weight is model.model.embed_tokens.weight
    seen = {}
    for name in ("model.layers.0", "model.layers.1", "model.norm"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda m, args, out, name=name: seen.update({name: (args[0].device.type, out.device.type)}))
    with pytest.raises(NotImplementedError, match="meta"):  # nothing comes back from there
        model(torch.tensor([[1, 2, 3]]), attention_mask=torch.tensor([[0, 1, 1]]))
    assert seen == {"model.layers.0": ("cpu", "cpu"), "model.layers.1": ("meta", "meta"), "model.norm": ("meta", "meta")}


def test_auto_and_single_devices(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = core.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[1, 2, 3]])
    for place in ("cpu", torch.device("cpu"), {"": "cpu"}, "auto"):
        assert torch.equal(core.AutoModelForCausalLM.from_pretrained(folder, device_map=place)(ids).logits, plain(ids).logits)
    layer = sum(p.nbytes for p in plain.model.layers[0].parameters())
    rest = sum(p.nbytes for p in plain.parameters()) - 3 * layer
    monkeypatch.setattr("core.modeling.placement.free_memory", lambda wanted: {"cpu": rest + layer, "meta": 2 * layer})
    model = core.AutoModelForCausalLM.from_pretrained(folder, device_map="auto")
    assert [next(part.parameters()).device.type for part in model.model.layers] == ["cpu", "meta", "meta"]
    assert model.hf_device_map[""] == "cpu"


def test_impossible_maps(folder: str) -> None:
    for places, match in (
        ({"": "cpu", "model.layer.0": "cpu"}, "model.layer.0"),
        ({"model.layers": "cpu"}, "does not cover"),
        ({"": "cpu", "lm_head": "meta"}, "tied"),
    ):
        with pytest.raises(ConfigError, match=match):
            core.AutoModelForCausalLM.from_pretrained(folder, device_map=places)


def test_moved_reaches_into_containers() -> None:
    x, meta = torch.zeros(2), torch.device("meta")
    out = moved({"a": (x, [x]), "b": "text"}, meta)
    assert out["a"][0].is_meta and out["a"][1][0].is_meta and out["b"] == "text"
