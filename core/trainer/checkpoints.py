"""A checkpoint holds all that the next step depends on. It is written beside, synced and renamed: one that is there is whole.

model files              weights, or the adapter
optimizer.pt, scheduler.pt, scaler.pt
rng_state.pth            random states and the place in the data; with several processes one file each, rng_state_N.pth
trainer_state.json       steps, figures so far, the best
training_args.json
"""

import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from core.errors import TrainingError, one_line
from core.trainer.distributed import agreed, wait, world

NAME = re.compile(r"checkpoint-(\d+)")


def save_checkpoint(folder: Path, parts: dict[str, Any], documents: dict[str, Any], save_model: Any) -> None:
    """Write a checkpoint. Raises TrainingError, the same in every process, where it cannot be written; earlier ones are kept.

    parts: file name -> what torch.save writes. A name with `_N` is each process's own, the others are the first's. documents: file
    name -> what is written as JSON. save_model: writes the model's files into a folder.
    """
    part, (rank, _) = folder.with_name(f"{folder.name}.part"), world()
    problem = None
    try:
        if rank == 0:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            save_model(part)
            for name, document in documents.items():
                (part / name).write_text(json.dumps(document, indent=1), encoding="utf-8")
        wait()
        for name, content in parts.items():
            if rank == 0 or own_file(rank) == name:
                torch.save(content, part / name)
        wait()
        if rank == 0:
            sync(part)
            shutil.rmtree(folder, ignore_errors=True)
            part.replace(folder)
    except (OSError, SafetensorError) as error:
        problem = getattr(error, "strerror", None) or one_line(error)
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error) and "iostream" not in str(error):
            raise
        problem = "no space is left on the disk" if shutil.disk_usage(part.parent).free < 2**20 else one_line(error)
    if rank == 0 and problem:
        shutil.rmtree(part, ignore_errors=True)
    if problem := agreed(problem):
        raise TrainingError(f"The checkpoint {folder} cannot be written: {problem}. Earlier ones are kept.")


def sync(folder: Path) -> None:
    """Everything in the folder onto the disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            with open(file, "rb") as written:
                os.fsync(written.fileno())


def own_file(rank: int) -> str:
    """The file of one process's random states."""
    return "rng_state.pth" if world()[1] == 1 else f"rng_state_{rank}.pth"


def checkpoints(output_dir: Path) -> list[Path]:
    """The whole ones, oldest first."""
    found = [(int(match[1]), path) for path in output_dir.glob("checkpoint-*") if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def last_checkpoint(output_dir: Path) -> Path | None:
    """The newest whole checkpoint."""
    found = checkpoints(output_dir)
    return found[-1] if found else None


def keep_newest(output_dir: Path, count: int | None, best: str | None = None) -> None:
    """Remove the oldest beyond the count; never the best, and never the newest."""
    if not count:
        return
    found = checkpoints(output_dir)
    kept = [path for path in found if best is not None and path == Path(best)]
    kept += [path for path in reversed(found) if path not in kept][: max(1, count - len(kept))]
    for path in found:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def load_weights(model: Any, folder: Path) -> None:
    """The checkpoint's weights or adapter into a model that is already made. Raises TrainingError for another model's."""
    if hasattr(model, "peft_config"):
        model._read(folder, model.active_adapter)
        return
    from core.checkpoints import open_checkpoint

    own = model.state_dict()
    with open_checkpoint(folder) as file, torch.no_grad():
        names = file.names()
        if strange := [name for name in names if name not in own]:
            raise TrainingError(f"{folder} is a checkpoint of another model: this one has no '{strange[0]}'.")
        for name in names:
            own[name].copy_(file.load(name))


def load_part(folder: Path, name: str) -> Any:
    """What `torch.save` wrote. Raises TrainingError for a damaged file."""
    try:
        return torch.load(folder / name, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise TrainingError(
            f"The checkpoint {folder} has no {name}: it was saved by another number of processes, or holds weights alone."
        ) from None
    except Exception as error:
        raise TrainingError(
            f"The checkpoint {folder} is damaged: {name}: {one_line(error)}. Remove it to resume from the one before."
        ) from error


def load_document(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file. Raises TrainingError for a damaged one."""
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"The checkpoint {folder} is damaged: {name}: {one_line(error)}. Remove it to resume from the one before."
        ) from error


def random_states() -> dict[str, Any]:
    """Of Python, NumPy, PyTorch and its devices."""
    version, words, gauss = random.getstate()
    kind, keys, position, has, cached = np.random.get_state()
    states: dict[str, Any] = {
        "python": (version, list(words), gauss),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has), float(cached)),
        "cpu": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore(states: dict[str, Any]) -> None:
    """Go on drawing where `random_states` was called."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has, cached))
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
