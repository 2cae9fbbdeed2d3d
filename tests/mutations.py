"""Files broken in many ways, each loaded in a process of its own kind: `python tests/mutations.py FORMAT COUNT FOLDER` prints what happened.

A mutation either loads or is refused by an error of ours that names the file; the process watches time and its own peak memory.
"""

import json
import random
import re
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import core
from core.checkpoints import open_checkpoint
from core.checkpoints.description import read_description
from core.errors import VitrineError

SECONDS = 5
HUGE = (2**63 - 1, 2**62, 2**48, 2**40, 2**33, 2**32, 2**31, 2**31 - 1, 10**12, 10**9, 10**7, 0, 1)


def tiny_llama() -> Any:
    torch.manual_seed(0)
    config = core.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    return core.LlamaForCausalLM(config)


def make_safetensors(folder: Path) -> str:
    tiny_llama().save_pretrained(folder)
    return "model.safetensors"


def make_index(folder: Path) -> str:
    tiny_llama().save_pretrained(folder, max_shard_size="20KB")
    return "model.safetensors.index.json"


def make_config(folder: Path) -> str:
    make_safetensors(folder)
    return "config.json"


def make_bin(folder: Path, zipped: bool = True) -> str:
    model = tiny_llama()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return "pytorch_model.bin"


def make_legacy_bin(folder: Path) -> str:
    return make_bin(folder, zipped=False)


def make_gguf(folder: Path) -> str:
    """Every block type once; the metadata of a llama."""
    import gguf
    import numpy as np
    from gguf import GGMLQuantizationType as Kind

    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    for key, value in (("block_count", 1), ("context_length", 64), ("embedding_length", 256), ("feed_forward_length", 256)):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_uint32("llama.attention.head_count", 4)
    writer.add_uint32("llama.attention.head_count_kv", 2)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_array("tokenizer.ggml.tokens", [f"t{i}" for i in range(40)])
    kinds = dict(
        attn_q=Kind.Q4_K, attn_k=Kind.Q6_K, attn_v=Kind.Q5_K, attn_output=Kind.Q2_K, ffn_gate=Kind.Q3_K, ffn_up=Kind.Q8_0
    )
    chance = np.random.default_rng(0)
    for name, kind in {**kinds, "ffn_down": Kind.Q5_1}.items():
        rows = 128 if name in ("attn_k", "attn_v") else 256
        count, size = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor(
            f"blk.0.{name}.weight", chance.integers(0, 60, (rows, 256 // count * size), dtype=np.uint8), raw_dtype=kind
        )
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(256, np.float32))
    writer.add_tensor("token_embd.weight", chance.standard_normal((40, 256)).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return "tiny.gguf"


def make_ctranslate2(folder: Path) -> str:
    from ctranslate2_writer import tiny_state, write_whisper

    write_whisper(folder / "model.bin", tiny_state(), heads=2)
    return "model.bin"


def load_model(folder: Path) -> None:
    """The whole way, every number touched."""
    gguf = next(folder.glob("*.gguf"), None)
    model = core.AutoModelForCausalLM.from_pretrained(gguf or folder)
    for parameter in model.parameters():
        parameter.detach().sum()


def load_tensors(folder: Path) -> None:
    """A description and all tensors."""
    read_description(folder)
    with open_checkpoint(folder) as file:
        for name in file.names():
            file.load(name).sum()


FORMATS: dict[str, tuple[Callable[[Path], str], Callable[[Path], None]]] = {
    "safetensors": (make_safetensors, load_model),
    "index": (make_index, load_model),
    "bin": (make_bin, load_model),
    "legacy bin": (make_legacy_bin, load_model),
    "gguf": (make_gguf, load_model),
    "ctranslate2": (make_ctranslate2, load_tensors),
    "config": (make_config, load_model),
}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Cut short, bits turned, a length that lies, a number or a value of another kind in JSON, bytes lost or doubled."""
    out, head = bytearray(data), min(len(data), 3000)
    kind = chance.choice(("cut", "bits", "bits", "lie", "lie", "number", "number", "value", "lose", "double"))
    at = chance.randrange(head if chance.random() < 0.8 else len(data))
    if kind == "cut":
        return data[: chance.randrange(len(data))]
    if kind == "bits":
        for _ in range(chance.randint(1, 8)):
            out[chance.randrange(head)] ^= 1 << chance.randrange(8)
    elif kind == "lie":
        size = chance.choice((2, 4, 8))
        out[at : at + size] = (chance.choice(HUGE) % (1 << (8 * size))).to_bytes(size, "little")
    elif kind in ("number", "value"):
        spots = list(re.finditer(rb"\d+" if kind == "number" else rb'(?<=: )("[^"]*"|[\d.e-]+|true|false|null)', data[:head]))
        if spots:
            values = [b"null", b'"x"', b"-1", b"[]", b"{}", b"1e999", b"[[[1]]]", b"0.5", b"true"]
            spot, new = chance.choice(spots), str(chance.choice(HUGE)).encode()
            out[spot.start() : spot.end()] = new if kind == "number" else chance.choice(values)
    elif kind == "lose":
        del out[at : at + chance.randint(1, 40)]
    else:
        out[at:at] = out[at : at + chance.randint(1, 40)]
    return bytes(out)


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def alarm(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def run(format: str, count: int, folder: Path) -> dict[str, Any]:
    make, load = FORMATS[format]
    whole, broken = folder / "whole", folder / "broken"
    whole.mkdir()
    name = make(whole)
    load(whole)
    shutil.copytree(whole, broken)
    data = (whole / name).read_bytes()
    load(broken)
    signal.signal(signal.SIGALRM, alarm)
    found: dict[str, Any] = {"loaded": 0, "refused": 0, "slowest": 0.0, "size": len(data), "failures": []}
    before = peak()
    for seed in range(count):
        (broken / name).unlink()  # not in place: an earlier mutation may still be mapped
        (broken / name).write_bytes(mutated(data, random.Random(f"{format} {seed}")))
        signal.alarm(SECONDS)
        start = time.monotonic()
        try:
            load(broken)
            found["loaded"] += 1
        except VitrineError as error:
            found["refused"] += 1
            if "\n" in str(error) or "broken" not in str(error) or len(str(error)) > 1000:
                found["failures"].append(f"{seed}: says {str(error)[:300]!r}")
        except BaseException as error:
            found["failures"].append(f"{seed}: {type(error).__name__}: {str(error)[:300]}")
        signal.alarm(0)
        found["slowest"] = max(found["slowest"], time.monotonic() - start)
        if peak() - before > max(64_000_000, 2 * len(data)):
            found["failures"].append(f"{seed}: {(peak() - before) / 1e6:.0f} MB")
            break
    return found | {"memory": peak() - before}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
