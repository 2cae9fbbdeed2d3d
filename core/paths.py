"""Where the user's data lives. One place decides; everything else asks.

data_dir()/vitrine.db            the run store (SQLite)
data_dir()/runs/RUN_ID/          config.yaml, log.txt, checkpoint-N/, adapter/
data_dir()/datasets/             files dropped on the Train tab
data_dir()/presets.toml          sets of generation parameters, saved on the Chat tab
models_dir()/NAME/               starter models and downloads
"""

import os
import sys
from pathlib import Path


def data_dir() -> Path:
    """The data folder: VITRINE_DATA_DIR, else the system's place for a user's application data."""
    if chosen := os.environ.get("VITRINE_DATA_DIR"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "vitrine"


def models_dir() -> Path:
    """The folder of starter models: VITRINE_MODELS_DIR, else `models` in the data folder."""
    chosen = os.environ.get("VITRINE_MODELS_DIR")
    return Path(chosen).expanduser() if chosen else data_dir() / "models"


def runs_dir() -> Path:
    """One folder a training run."""
    return data_dir() / "runs"


def store_path() -> Path:
    """The SQLite file of the run store."""
    return data_dir() / "vitrine.db"


def assets_dir() -> Path:
    """The checkout's `assets` folder."""
    return Path(__file__).resolve().parent.parent / "assets"
