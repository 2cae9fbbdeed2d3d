"""What is measured: SmolLM2 and MiniLM, ours and the reference's, each loaded once when a row first asks for it."""

import tempfile
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from tests.bench.harness import ROOT, Absent, child


class Subjects:
    """Files and models. `text`: what quality is measured on and prompts are cut from; `peers`: whether others than the reference are
    asked too; `data`: instruction rows to train on."""

    def __init__(self, text: Path | None = None, peers: bool = False, data: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench")
        self._text, self.peers, self.data = text, peers, data

    @cached_property
    def gguf(self) -> Path:
        """SmolLM2's file."""
        from core.checkpoints import catalogue

        entry = catalogue.load_catalogue()["SmolLM2-135M-Instruct"]
        return catalogue.fetch(entry) / entry.file

    @cached_property
    def folder(self) -> Path:
        """The same numbers as float32 safetensors: what the reference, too, makes of the file when it loads it."""
        child("save", str(self.gguf), self._folder.name)
        return Path(self._folder.name)

    @cached_property
    def tokenizer(self) -> Any:
        """SmolLM2's."""
        import core

        return core.AutoTokenizer.from_pretrained(self.gguf)

    @cache  # noqa: B019 - one object, as long as the process
    def ours(self, kind: str) -> Any:
        """ "float32", "bfloat16", one of our quantizations, or "page": the file as the page loads it."""
        import core

        if kind in ("float32", "bfloat16"):
            return core.AutoModelForCausalLM.from_pretrained(self.folder, dtype=kind)
        if kind == "page":
            return core.AutoModelForCausalLM.from_pretrained(self.gguf, quantization="gguf", dtype="float32")
        return core.AutoModelForCausalLM.from_pretrained(self.gguf, quantization=kind)

    @cache  # noqa: B019
    def reference(self, dtype: str) -> Any:
        """transformers' model."""
        transformers = quiet_reference()
        return transformers.AutoModelForCausalLM.from_pretrained(self.folder, dtype=getattr(torch, dtype)).eval()

    @cached_property
    def llama_cpp(self) -> Any:
        """llama.cpp on the same file, one token's logits at a time."""
        try:
            return llama_cpp(self.gguf, 2048)
        except ImportError:
            raise Absent("llama-cpp-python is not installed") from None

    @cached_property
    def text(self) -> str:
        """The file that was named, or what this repository says of itself."""
        if self._text is not None:
            return self._text.read_text(encoding="utf-8", errors="replace")
        files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "LICENSE"]
        return "\n\n".join(file.read_text(encoding="utf-8") for file in files)

    def ids(self, tokens: int) -> torch.Tensor:
        """(1, tokens): the beginning of the text."""
        found = self.tokenizer(self.text)["input_ids"]
        while len(found) < tokens:
            found = found + found
        return torch.tensor([found[:tokens]])

    @cache  # noqa: B019
    def embedder(self, dtype: str) -> Any:
        """Our feature-extraction pipeline on MiniLM."""
        import core

        return core.pipeline("feature-extraction", self._minilm, dtype=dtype)

    @cache  # noqa: B019
    def reference_embedder(self, dtype: str) -> Any:
        """transformers' pipeline."""
        return quiet_reference().pipeline("feature-extraction", self._minilm, dtype=getattr(torch, dtype), device="cpu")

    @cached_property
    def _minilm(self) -> str:
        from core.checkpoints import catalogue

        return str(catalogue.fetch(catalogue.load_catalogue()["all-MiniLM-L6-v2"]))


def quiet_reference() -> Any:
    """The transformers module, without its bars and hints."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def llama_cpp(file: Path, context: int) -> Any:
    """A model of llama.cpp on all cores. Weights keep the file's order: repacked for AMX, Q4_1 ends the process (0.3.36)."""
    import llama_cpp as library

    defaults, threads = library.llama_model_default_params, torch.get_num_threads()

    def in_order() -> Any:
        params = defaults()
        params.use_extra_bufts = False
        return params

    library.llama_cpp.llama_model_default_params = in_order
    return library.Llama(str(file), n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False)
