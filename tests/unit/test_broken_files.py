"""Files cut short, with bits turned, with lengths that lie, with a tensor missing: one clear error each, nothing half-loaded."""

import json
import random
import shutil
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file

import core
from core.checkpoints import open_checkpoint
from core.checkpoints.gguf import GGUFFile
from core.errors import CheckpointError, VitrineError

QUANTISED = [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0]


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"a": torch.randn(4, 64), "b": torch.randn(3, 32).half(), "c": torch.arange(6)}


@pytest.fixture
def safetensors_file(tmp_path: Path) -> Path:
    save_file(tensors(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


@pytest.fixture
def bin_file(tmp_path: Path) -> Path:
    torch.save(tensors(), tmp_path / "pytorch_model.bin")
    return tmp_path / "pytorch_model.bin"


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    """Every type we read, and metadata of every kind."""
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.name", "tiny")
    writer.add_array("words", ["a", "bc", ""])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_float32("eps", 1e-5)
    writer.add_bool("flag", True)
    chance = np.random.default_rng(0)
    writer.add_tensor("plain", chance.standard_normal((3, 32)).astype(np.float32))
    writer.add_tensor("half", chance.standard_normal((2, 5)).astype(np.float16))
    for kind in QUANTISED:
        rows = chance.standard_normal((4, 64)).astype(np.float32)
        writer.add_tensor(kind.name, gguf.quants.quantize(rows, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def read_all(path: Path) -> None:
    with GGUFFile(path) if path.suffix == ".gguf" else open_checkpoint(path) as file:
        for name in file.names():
            file.load(name)


def test_gguf_equals_its_reference_reader(gguf_file: Path) -> None:
    ours, reference = GGUFFile(gguf_file), gguf.GGUFReader(gguf_file)
    assert ours.names() == [tensor.name for tensor in reference.tensors]
    for tensor in reference.tensors:
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        loaded = ours.load(tensor.name)
        assert loaded.shape == expected.shape
        assert np.array_equal(loaded.float().numpy(), expected.astype(np.float32)), tensor.name
    assert ours.metadata["words"] == ["a", "bc", ""] and list(ours.metadata["numbers"]) == [1, 2, 3]
    assert ours.metadata["general.name"] == "tiny" and ours.metadata["flag"] is True


@pytest.mark.parametrize("kind", ["safetensors_file", "bin_file", "gguf_file"])
def test_cut_short(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path: Path = request.getfixturevalue(kind)
    whole = path.read_bytes()
    read_all(path)
    broken = tmp_path / f"cut{path.suffix}"
    for size in sorted({0, 1, 7, 8, 9, 20, 24, len(whole) // 3, len(whole) // 2, len(whole) - 300}):
        broken.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="cut"):
            read_all(broken)


@pytest.mark.parametrize("kind", ["safetensors_file", "bin_file", "gguf_file"])
def test_turned_bits(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Either it loads (a weight has another value) or it says what is wrong: never another exception, never much memory."""
    path: Path = request.getfixturevalue(kind)
    whole, chance, refused = path.read_bytes(), random.Random(0), 0
    broken = tmp_path / f"turned{path.suffix}"
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(min(len(data), 1200))] ^= 1 << chance.randrange(8)
        broken.write_bytes(data)
        try:
            read_all(broken)
        except CheckpointError as error:
            refused += 1
            assert "turned" in str(error) and "\n" not in str(error)
    assert refused > 50


def test_lying_safetensors(tmp_path: Path) -> None:
    def write(header: object, body: bytes = bytes(64), length: int | None = None) -> Path:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / "lies.safetensors"
        path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + body)
        return path

    good = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}
    read_all(write({"x": good}))
    lies = [
        write({"x": good}, length=2**63).read_bytes(),
        write({"x": good}, length=10**9).read_bytes(),
        write({"x": {**good, "data_offsets": [0, 10**12]}}).read_bytes(),
        write({"x": {**good, "shape": [2**40, 2**40]}}).read_bytes(),
        write({"x": {**good, "shape": [-4, -4]}}).read_bytes(),
        write({"x": {**good, "shape": [4.0, 4]}}).read_bytes(),
        write({"x": {**good, "data_offsets": [64, 0]}}).read_bytes(),
        write({"x": {**good, "dtype": "F99"}}).read_bytes(),
        write({"x": good, "y": {**good, "data_offsets": [0, 64]}}).read_bytes(),
        write({"x": "no"}).read_bytes(),
        write([1]).read_bytes(),
        write(b"\xff\xfe not json").read_bytes(),
        write(b"[" * 50_000).read_bytes(),
        write(b'{"x": 1, "x": 2}').read_bytes(),
    ]
    for data in lies:
        path = tmp_path / "lies.safetensors"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"lies\.safetensors"):
            read_all(path)


def test_lying_gguf(gguf_file: Path, tmp_path: Path) -> None:
    whole = gguf_file.read_bytes()
    path = tmp_path / "lies.gguf"
    for at, value in [(4, 99), (8, 2**40), (8, 2**63), (16, 2**40), (24, 2**62), (24, 2**32)]:
        data = bytearray(whole)
        data[at : at + (4 if at == 4 else 8)] = struct.pack("<I" if at == 4 else "<Q", value)
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"lies\.gguf"):
            read_all(path)


def test_missing_and_misshapen_tensors(tmp_path: Path) -> None:
    config = core.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    torch.manual_seed(0)
    core.LlamaForCausalLM(config).save_pretrained(tmp_path / "whole")
    state = {name: t for name, t in open_all(tmp_path / "whole").items() if "layers.1.mlp.up_proj" not in name}
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "whole", broken)
    save_file(state, broken / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"broken.*model\.layers\.1\.mlp\.up_proj\.weight"):
        core.AutoModelForCausalLM.from_pretrained(broken)
    state["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 3)
    save_file(state, broken / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"up_proj\.weight' has shape \(3, 3\)"):
        core.AutoModelForCausalLM.from_pretrained(broken)
    core.LlamaForCausalLM(config).save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=shards[1].name):
        core.AutoModelForCausalLM.from_pretrained(tmp_path / "shards")


def open_all(folder: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint(folder) as file:
        return {name: file.load(name).clone() for name in file.names()}


def test_smollm2_cut_short_leaves_nothing(smollm2: Path, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real file cut in half, asked for through the workbench: an error with its name, no model kept, its memory given back."""
    import gc

    import psutil

    from app.workbench import Workbench

    folder = tmp_path / "models" / "half"
    folder.mkdir(parents=True)
    with open(smollm2, "rb") as source:
        (folder / "half.gguf").write_bytes(source.read(60_000_000))
    monkeypatch.setenv("VITRINE_MODELS_DIR", str(tmp_path / "models"))
    workbench = Workbench()
    assert workbench.model_names("text-generation") == []
    (half,) = [model for model in workbench.shelf.models() if model.name == "half"]
    assert "half.gguf" in (half.problem or "")
    gc.collect()
    before = psutil.Process().memory_info().rss
    for _ in range(3):
        with pytest.raises(VitrineError, match=r"half\.gguf"):
            workbench.use("half")
    gc.collect()
    assert workbench.residents() == {} and psutil.Process().memory_info().rss - before < 80e6
