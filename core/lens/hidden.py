"""Hidden states as pictures: the plane in which tokens differ most, layer by layer."""

import numpy as np


def plane(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the tokens' directions. (layers, tokens, width) -> points (layers, tokens, 2), each layer scaled to
    a largest coordinate of 1, and the share of variance in the plane (layers,).

    Vectors are scaled to length 1 first: one token of a decoder often has a norm a hundred times the others' and would be
    the whole picture. A plane is known only up to turning and mirroring: each layer is laid on the one before it
    (orthogonal Procrustes: Schönemann 1966), so that points move as little as they can.
    """
    layers, tokens, _ = states.shape
    points, share = np.zeros((layers, tokens, 2), np.float32), np.zeros(layers, np.float32)
    for layer in range(layers):
        x = states[layer].astype(np.float64)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        x -= x.mean(0)
        total = float((x**2).sum())
        if total < 1e-12:
            continue
        variances, vectors = np.linalg.eigh(x @ x.T)  # the tokens' scores without the (larger) decomposition of x
        flat = np.zeros((tokens, 2))
        rank = min(2, tokens)
        largest = np.maximum(variances[::-1][:rank], 0)
        flat[:, :rank] = vectors[:, ::-1][:, :rank] * np.sqrt(largest)
        share[layer] = float(largest.sum()) / total
        if layer and points[layer - 1].any():
            a, _, b = np.linalg.svd(flat.T @ points[layer - 1])
            flat = flat @ (a @ b)
        else:
            flat *= np.where(flat[np.abs(flat).argmax(0), [0, 1]] < 0, -1, 1)
        points[layer] = flat / max(np.abs(flat).max(), 1e-12)
    return points, share
