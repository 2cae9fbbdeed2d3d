"""Rows of decoding on a CPU: milliseconds a token of compiled steps, beside the reference's, llama.cpp's and our own in other ways.

Each figure is measured in a process of its own, which reads a prompt and then computes tokens. llama.cpp is asked where llama-cpp-python is
installed (a ten-minute build, by hand).
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.harness import ROOT, Measure, Row
from tests.bench.subjects import Subjects

PROMPT, TOKENS, LONG = 32, 128, 1024


def child(who: str, *arguments: Any) -> float:
    """Milliseconds a token of `python -m tests.bench.kernels WHO …`."""
    command = [sys.executable, "-m", "tests.bench.kernels", who, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def rows(subjects: Subjects) -> list[Row]:
    """SmolLM2's Q4_1 file, and the same model as float32 safetensors."""

    def took(who: str, file: str, *arguments: Any) -> Callable[[], float]:
        return lambda: child(who, getattr(subjects, file), *arguments)

    gguf, folder = "gguf", "folder"

    blocks = took("ours", gguf, "gguf", PROMPT, 1, 0)
    long, one = took("ours", gguf, "gguf", LONG, 1, 0), took("ours", gguf, "gguf", PROMPT, 1, 1)

    def faster(name: str, measure: Measure, other: Measure, other_name: str, aim: float | None) -> Row:
        return Row(f"compiled.{name}", "ms", measure, other, other_name, aim, rounds=5, times=True)

    def dtype(name: str) -> tuple[Measure, Measure, str]:
        return took("ours", folder, name, PROMPT, 1, 0), took("reference", folder, name, PROMPT), f"transformers, {name}"

    found = [
        faster("gguf", blocks, took("reference", gguf, "float32", PROMPT), "transformers, the same file", 12),
        faster("bf16", *dtype("bfloat16"), 2.5),
        faster("fp32", *dtype("float32"), 2),
        faster("8_rows", took("ours", gguf, "gguf", PROMPT, 8, 0), blocks, "one row", 2.5),
        faster("one_thread", one, blocks, "all threads", None),
        *(
            Row(f"compiled.context_{n}", "ms", took("ours", gguf, "gguf", n, 1, 0), took("memory", gguf, n), "memory", rounds=3)
            for n in (128, 1024, 4096, 8192)
        ),
    ]
    if subjects.peers and importlib.util.find_spec("llama_cpp") is not None:
        found += [
            faster("llama_cpp", blocks, took("llama_cpp", gguf, PROMPT), "llama.cpp", 2),
            faster("llama_cpp_long", long, took("llama_cpp", gguf, LONG), "llama.cpp", 2.2),
            faster("llama_cpp_one_thread", one, took("llama_cpp", gguf, PROMPT), "llama.cpp on all", 1.6),
        ]
    return found


# ---------------------------------------------------------------- in the child


def ours(path: str, form: str, prompt: str, batch: str, threads: str) -> float:
    """Milliseconds a token of one row, or of each of several; threads 0 leaves their number to the step."""
    import torch

    from core import AutoModelForCausalLM
    from core.generation.step import decode_step, likeliest
    from core.kernels import crew, quiet
    from core.modeling.cache import Cache

    if int(threads):
        crew.cores = lambda: int(threads)
    options: dict[str, Any] = {"quantization": form} if form == "gguf" else {"dtype": form}
    model, cache = AutoModelForCausalLM.from_pretrained(path, **options), Cache()
    ids = torch.arange(int(batch) * int(prompt)).view(int(batch), int(prompt)) * 7919 % 40000 + 100
    times = []
    with torch.inference_mode():
        for _ in range(TOKENS):
            began = time.perf_counter()
            logits = decode_step(model, ids, torch.ones_like(ids), cache)
            with quiet(model):
                ids = torch.cat([ids, likeliest(logits)[:, None]], 1)
            times.append(time.perf_counter() - began)
    return statistics.median(times[8:]) * 1e3 / int(batch)


def reference(path: str, dtype: str, prompt: str) -> float:
    """The reference library's milliseconds a token."""
    import torch
    from transformers import AutoModelForCausalLM

    file = Path(path)
    where = {"gguf_file": file.name} if file.suffix == ".gguf" else {}
    folder = file.parent if where else file
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **where).eval()
    ids, past, times = torch.arange(int(prompt))[None] * 7919 % 40000 + 100, None, []
    with torch.inference_mode():
        for _ in range(48):
            began = time.perf_counter()
            out = model(ids, past_key_values=past, use_cache=True, logits_to_keep=1)
            past, ids = out.past_key_values, out.logits[:, -1].argmax(-1)[:, None]
            times.append(time.perf_counter() - began)
    return statistics.median(times[8:]) * 1e3


def llama_cpp(path: str, prompt: str) -> float:
    """llama.cpp's milliseconds a token on all threads, its step called directly."""
    import ctypes

    import llama_cpp as library

    from tests.bench.subjects import llama_cpp as load

    count = int(prompt)
    model = load(Path(path), count + TOKENS + 1)
    model.eval([token * 7919 % 40000 + 100 for token in range(count)])
    token, times = (ctypes.c_int32 * 1)(100), []
    for _ in range(TOKENS):
        began = time.perf_counter()
        library.llama_decode(model.ctx, library.llama_batch_get_one(token, 1))
        scores = library.llama_get_logits(model.ctx)
        token[0] = max(range(8), key=lambda at: scores[at])
        times.append(time.perf_counter() - began)
    return statistics.median(times[8:]) * 1e3


def memory(path: str, context: str) -> float:
    """Milliseconds to read once, on all threads, what a token of this context needs: the matrices, and keys and values in bfloat16."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from core.kernels.crew import cores

    size = Path(path).stat().st_size + 30 * 2 * 3 * 64 * 2 * int(context)
    parts = np.array_split(np.ones(size // 8, np.int64), cores())
    times = []
    with ThreadPoolExecutor(len(parts)) as pool:
        for _ in range(12):
            began = time.perf_counter()
            list(pool.map(np.max, parts))
            times.append(time.perf_counter() - began)
    return min(times) * 1e3


if __name__ == "__main__":
    functions: dict[str, Callable[..., float]] = {f.__name__: f for f in (ours, reference, llama_cpp, memory)}
    print(json.dumps(functions[sys.argv[1]](*sys.argv[2:])))
