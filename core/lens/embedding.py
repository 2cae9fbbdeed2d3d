"""Texts as points: cosine similarity and the plane in which they differ most."""

import numpy as np
import torch

from core.lens.hidden import plane


def similarity(vectors: torch.Tensor) -> np.ndarray:
    """Vectors (texts, width) -> cosines (texts, texts), float32."""
    unit = torch.nn.functional.normalize(vectors.float(), dim=-1)
    return (unit @ unit.T).clamp(-1, 1).cpu().numpy()


def flat(vectors: torch.Tensor) -> tuple[np.ndarray, float]:
    """Vectors (texts, width) -> points (texts, 2) within ±1 and the share of variance their plane holds."""
    points, share = plane(vectors.float().cpu().numpy()[None])
    return points[0], float(share[0])
