"""The lens against the model's own outputs, on tiny random models and hostile texts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from app.api.attention import InspectionStore, handle, routes
from core.auto import AutoModel, AutoModelForCausalLM
from core.errors import DataError
from core.lens import Inspection, dequantise, inspect, plane, pool, quantise
from core.modeling.taps import Taps
from core.models.bert import BertConfig, BertModel
from core.models.gpt2 import GPT2Config, GPT2LMHeadModel
from core.models.llama import LlamaConfig, LlamaForCausalLM
from core.tokenization import AutoTokenizer, PreTrainedTokenizer
from core.tokenization.readable import readable_token

SIZES = {"vocab_size": 300, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 6}
TEXT = "Ein Käfer, 12 mice\n\tand a 🦊."


def byte_tokenizer() -> PreTrainedTokenizer:
    """One token a byte, a start token before them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "<pad>": 1} | {c: i + 2 for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizer(tokenizer, {"bos_token": "<s>", "pad_token": "<pad>"})


def tiny(kind: str):
    """A model with large random weights, so that patterns are far from uniform."""
    torch.manual_seed(1)
    model = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=64)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=24, n_layer=3, n_head=6, n_positions=64)),
        "bert": lambda: BertModel(BertConfig(**SIZES, max_position_embeddings=64)),
    }[kind]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize(("kind", "kv_heads", "causal"), [("llama", 2, True), ("gpt2", 6, True), ("bert", 6, False)])
def test_patterns_are_the_models_own(kind: str, kv_heads: int, causal: bool) -> None:
    model, tokenizer = tiny(kind), byte_tokenizer()
    seen = inspect(model, tokenizer, TEXT)
    ids = torch.tensor([seen.ids])
    with torch.no_grad():
        out = model(input_ids=ids, output_attentions=True)
    reference = torch.cat(out.attentions).numpy()
    assert seen.patterns.shape == reference.shape and seen.patterns.dtype == np.uint8
    assert np.abs(dequantise(seen.patterns) - reference).max() < 0.004
    assert np.abs(dequantise(seen.patterns).sum(-1) - 1).max() < 0.03
    assert np.abs(dequantise(seen.means) - reference.mean(1)).max() < 0.004
    assert np.abs(dequantise(seen.overall) - reference.mean((0, 1))).max() < 0.004
    assert (seen.kv_heads, seen.causal, seen.cut) == (kv_heads, causal, 0)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_norms_are_those_of_the_residual_stream(kind: str) -> None:
    model, tokenizer = tiny(kind), byte_tokenizer()
    seen = inspect(model, tokenizer, TEXT)
    taps = Taps({"resid_pre": None, "resid_post": [2]})
    with torch.no_grad():
        model(input_ids=torch.tensor([seen.ids]), taps=taps)
    states = torch.cat([*taps.layers("resid_pre"), taps["resid_post", 2]])
    assert np.allclose(seen.norms, states.norm(dim=-1).numpy(), rtol=1e-5)
    assert seen.points.shape == (*seen.norms.shape, 2) and np.isfinite(seen.points).all()


def test_predictions_are_the_softmax_of_the_last_position() -> None:
    model, tokenizer = tiny("llama"), byte_tokenizer()
    seen = inspect(model, tokenizer, TEXT, top=5)
    with torch.no_grad():
        best = model(input_ids=torch.tensor([seen.ids])).logits[0, -1].softmax(-1).topk(5)
    assert [p for _, p in seen.predictions] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert [token for token, _ in seen.predictions] == [readable_token(tokenizer, id) for id in best.indices.tolist()]
    assert inspect(tiny("bert"), tokenizer, TEXT).predictions == []


def test_a_long_text_is_cut_and_says_so() -> None:
    model, tokenizer = tiny("bert"), byte_tokenizer()
    seen = inspect(model, tokenizer, "a" * 100)
    assert (len(seen.ids), seen.cut) == (64, 37)  # 100 bytes and a start token; the positions reach to 64
    assert inspect(model, tokenizer, "a" * 100, max_tokens=8).cut == 93


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_no_text_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no text"):
        inspect(tiny("bert"), byte_tokenizer(), text)


def test_one_token() -> None:
    tokenizer = byte_tokenizer()
    seen = inspect(tiny("llama"), tokenizer, "a", max_tokens=1)
    assert seen.patterns.shape[2:] == (1, 1) and (seen.patterns == 255).all() and seen.causal


def test_the_model_is_left_as_it_was() -> None:
    model = tiny("gpt2").train()
    inspect(model, byte_tokenizer(), TEXT)
    assert model.training


def test_quantise_keeps_diffuse_heads() -> None:
    p = torch.full((512,), 1 / 512)
    assert abs(dequantise(quantise(p)).sum() - 1) < 0.05
    assert quantise(torch.tensor([0.0, 1.0, float(1 + 1e-6)])).tolist() == [0, 255, 255]
    assert np.abs(dequantise(quantise(torch.linspace(0, 1, 999))) - np.linspace(0, 1, 999)).max() < 0.004


@pytest.mark.parametrize("shape", [(2, 3, 5, 5), (1, 2, 64, 64), (1, 1, 65, 130), (1, 1, 200, 512)])
def test_pool_keeps_the_largest(shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    small = pool(data)
    assert small.shape[2:] == tuple(min(n, 64) for n in shape[2:])
    assert (small.max((2, 3)) == data.max((2, 3))).all()
    if max(shape[2:]) <= 64:
        assert (small == data).all()


def test_a_plane_neither_turns_nor_mirrors_between_layers() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 8)) + 3
    layers = np.stack([cloud + rng.normal(size=cloud.shape) * 1e-3 for _ in range(6)])
    points, share = plane(layers.astype(np.float32))
    assert np.abs(np.diff(points, axis=0)).max() < 0.05
    assert np.abs(points).max() == pytest.approx(1) and (share > 0.5).all()


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_plane_of_few_tokens_is_finite(tokens: int) -> None:
    points, share = plane(np.ones((3, tokens, 4), np.float32))
    assert not points.any() and not share.any()


@pytest.fixture
def seen() -> Inspection:
    return inspect(tiny("llama"), byte_tokenizer(), TEXT * 3)


def test_routes_give_what_was_seen(seen: Inspection) -> None:
    store = InspectionStore()
    client = TestClient(Starlette(routes=routes(store=store)))
    value = handle(seen, "tiny", store)
    base = f"/attention/{value['id']}"
    assert (value["layers"], value["heads"], value["kv_heads"]) == (3, 6, 2) and len(value["tokens"]) == len(seen.ids) == 64
    head = client.get(f"{base}/head/2/5")
    assert head.headers["x-dims"] == "64,64" and head.content == seen.patterns[2, 5].tobytes()
    assert client.get(f"{base}/lod").headers["x-dims"] == "3,6,64,64"
    assert client.get(f"{base}/mean/1").content == seen.means[1].tobytes()
    assert client.get(f"{base}/mean").content == seen.overall.tobytes()
    numbers = np.frombuffer(client.get(f"{base}/hidden").content, "<f4")
    assert np.array_equal(numbers[: 4 * 64], seen.norms.ravel()) and len(numbers) == 4 * 64 * 3 + 4


WRONG = ("head/3/0", "head/0/6", "head/-1/0", "head/x/0", f"head/0/{10**30}", "head/000000000099/0", "mean/7", "head/²/0")


@pytest.mark.parametrize("path", WRONG)
def test_wrong_numbers_are_not_found(seen: Inspection, path: str) -> None:
    store = InspectionStore()
    client = TestClient(Starlette(routes=routes(store=store)))
    answer = client.get(f"/attention/{store.put(seen)}/{path}")
    assert answer.status_code == 404 and "from 0 to" in answer.json()["error"]


@pytest.mark.parametrize("path", ["lod", "head/0/0", "mean", "mean/0", "hidden"])
def test_unknown_ids_are_not_found(path: str) -> None:
    client = TestClient(Starlette(routes=routes(store=InspectionStore())))
    answer = client.get(f"/attention/nobody/{path}")
    assert answer.status_code == 404 and "no longer" in answer.json()["error"]


def test_the_store_is_bounded_by_count_and_bytes(seen: Inspection) -> None:
    store = InspectionStore(kept=3)
    names = [store.put(seen) for _ in range(3)]
    store.get(names[0])
    store.put(seen)
    assert len(store) == 3 and store.get(names[0]) and store.get(names[1]) is None
    small = InspectionStore(limit=seen.nbytes * 2)
    for _ in range(5):
        last = small.put(seen)
    assert len(small) == 2 and small.get(last)
    assert len(set(names)) == 3 and min(map(len, names)) >= 20


def test_the_starter_models(smollm2: Path, minilm: Path) -> None:
    text = "The capital of France is"
    seen = inspect(AutoModelForCausalLM.from_pretrained(smollm2), AutoTokenizer.from_pretrained(smollm2), text)
    assert seen.patterns.shape[:2] == (30, 9) and seen.kv_heads == 3 and seen.causal
    assert seen.predictions[0][0] == "·Paris"
    assert seen.tokens[:2] == ["The", "·capital"]
    seen = inspect(AutoModel.from_pretrained(minilm), AutoTokenizer.from_pretrained(minilm), text)
    assert seen.patterns.shape[:2] == (6, 12) and not seen.causal and seen.tokens[0] == "[CLS]"
