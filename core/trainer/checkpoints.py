"""A checkpoint holds all that the next step depends on. It is written beside, synced and renamed: one that is there is whole."""

import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import TrainingError


def save_checkpoint(
    folder: Path, model: Any, optimizer: Any, scheduler: Any, state: dict[str, Any], args: dict[str, Any]
) -> None:
    """Weights or adapter, optimiser, schedule, random states, position, arguments."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        model.save_pretrained(part)
        torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, part / "optimizer.pt")
        torch.save(_random_states(), part / "rng_state.pt")
        (part / "trainer_state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        (part / "training_args.json").write_text(json.dumps(args, indent=1), encoding="utf-8")
        for file in part.rglob("*"):
            if file.is_file():
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    except OSError as error:
        raise TrainingError(
            f"The checkpoint {folder} cannot be written: {error.strerror or error}. Earlier ones are kept."
        ) from error


def last_checkpoint(output_dir: Path) -> Path | None:
    """The newest whole checkpoint."""
    found = [
        (int(match[1]), path)
        for path in output_dir.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    ]
    return max(found)[1] if found else None


def keep_newest(output_dir: Path, count: int | None) -> None:
    """Remove the oldest beyond the count."""
    found = sorted(
        (int(p.name.split("-")[1]), p) for p in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)
    )
    for _, path in found[: -count if count else 0]:
        shutil.rmtree(path, ignore_errors=True)


def load_weights(model: Any, folder: Path) -> None:
    """The checkpoint's weights or adapter into a model that is already made."""
    if hasattr(model, "peft_config"):
        model._read(folder, model.active_adapter)
        return
    from core.checkpoints import open_checkpoint

    own = model.state_dict()
    with open_checkpoint(folder) as file, torch.no_grad():
        for name in file.names():
            own[name].copy_(file.load(name))


def load_state(folder: Path, optimizer: Any, scheduler: Any) -> dict[str, Any]:
    """Optimiser, schedule and random states; the position is returned. Raises TrainingError for a damaged checkpoint."""
    try:
        saved = torch.load(folder / "optimizer.pt", weights_only=True)
        states = torch.load(folder / "rng_state.pt", weights_only=True)
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise TrainingError(f"The checkpoint {folder} is damaged: {error}. Remove it to resume from the one before.") from error
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    _restore(states)
    return state


def _random_states() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    kind, keys, position, has, cached = np.random.get_state()
    states: dict[str, Any] = {
        "python": (version, list(words), gauss),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has), float(cached)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore(states: dict[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has, cached))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
