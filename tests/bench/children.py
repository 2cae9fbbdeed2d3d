"""What is measured, one function a process: `python -m tests.bench.children NAME …` prints its figures as one line of JSON.

Nothing is imported here that a measured process would not import itself.
"""

import json
import sys
import time
from typing import Any

IDS = [[1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308]]


def import_torch() -> dict[str, float]:
    """PyTorch alone."""
    import torch

    return {"threads": torch.get_num_threads()}


def import_core() -> dict[str, float]:
    """PyTorch and the library, as far as a class to load a model with."""
    import torch

    import core

    return {"threads": torch.get_num_threads(), "names": len(dir(core.AutoModelForCausalLM))}


def _first_forward(model: object) -> dict[str, float]:
    import torch

    with torch.no_grad():
        logits = model(torch.tensor(IDS)).logits  # type: ignore[operator]
    tensors = {p.data_ptr(): p.numel() * p.element_size() for p in model.parameters()}  # type: ignore[attr-defined]
    return {"token": int(logits[0, -1].argmax()), "weights": sum(tensors.values()) / 1e6}


def ours(path: str) -> dict[str, float]:
    """A model of a folder or GGUF file, in float32, to its first logits."""
    import core

    return _first_forward(core.AutoModelForCausalLM.from_pretrained(path, dtype="float32"))


def reference(path: str) -> dict[str, float]:
    """The same with transformers."""
    import os

    import torch
    import transformers

    folder, file = os.path.split(path)
    options = {"gguf_file": file} if path.endswith(".gguf") else {}
    where = folder if options else path
    return _first_forward(transformers.AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, **options))


def our_first_token(path: str) -> dict[str, float]:
    """A GGUF file, its blocks kept, and its tokenizer, to the first token of an answer."""
    import core

    tokenizer = core.AutoTokenizer.from_pretrained(path)
    model = core.AutoModelForCausalLM.from_pretrained(path, quantization="gguf")
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    return {"token": int(model.generate(ids, max_new_tokens=1, do_sample=False)[0, -1])}


def reference_first_token(path: str) -> dict[str, float]:
    """The same with transformers."""
    import os

    import transformers

    folder, file = os.path.split(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file)
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    return {"token": int(model.generate(ids, max_new_tokens=1, do_sample=False)[0, -1])}


def save(source: str, folder: str) -> dict[str, float]:
    """A safetensors copy, to load from."""
    import core

    core.AutoModelForCausalLM.from_pretrained(source).save_pretrained(folder)
    return {}


def _peak() -> float:
    """The most memory this process held, in MB."""
    if sys.platform == "linux":  # ru_maxrss there begins with what the process was that started this one
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024 / 1e6
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6  # type: ignore[attr-defined]
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def report(functions: dict[str, Any]) -> None:
    """Run the function that the command line names; its figures, the seconds of this process and its peak as JSON."""
    import os

    import psutil

    name, *arguments = sys.argv[1:]
    figures = functions[name](*arguments)
    figures["seconds"] = time.time() - psutil.Process(os.getpid()).create_time()
    figures["peak"] = _peak()
    print(json.dumps(figures))


if __name__ == "__main__":
    report(globals())
