"""From a name to a folder, and from a folder to tensors."""

from core.checkpoints.checkpoint import Checkpoint, open_checkpoint

__all__ = ["Checkpoint", "open_checkpoint"]
