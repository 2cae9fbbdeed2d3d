"""What the lens views fetch: attention as bytes, hidden states as floats, by an id nobody can guess.

GET /attention/ID/lod                uint8 (layers, heads, at most 64, at most 64): every head, pooled by the largest value
GET /attention/ID/head/LAYER/HEAD    uint8 (q, k)
GET /attention/ID/mean/LAYER         uint8 (q, k): mean over the heads of a layer;  /attention/ID/mean: over all
GET /attention/ID/hidden             float32, little endian: norms (layers + 1, tokens), points (…, …, 2), share (layers + 1)
GET /attention/ID/image              uint8 (height, width, 3): what the patches are cut from

Bytes of attention are round(255 sqrt p). The header `x-dims` gives the sizes in this order. A wrong id or number: 404, {"error": sentence}.
"""

import secrets
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.lens import Inspection, pool

KEPT = 24
BYTES = 1 << 30


class InspectionStore:
    """The latest inspections, by count and by size; the oldest unused goes first. Safe between threads."""

    def __init__(self, kept: int = KEPT, limit: int = BYTES) -> None:
        self.kept, self.limit = kept, limit
        self._held: OrderedDict[str, Inspection] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, inspection: Inspection) -> str:
        """Keep it; its id."""
        name = secrets.token_urlsafe(18)
        with self._lock:
            self._held[name] = inspection
            while len(self._held) > 1 and (len(self._held) > self.kept or self._bytes() > self.limit):
                self._held.popitem(last=False)
        return name

    def get(self, name: str) -> Inspection | None:
        """The inspection, or None where it is unknown or gone."""
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
            return self._held.get(name)

    def _bytes(self) -> int:
        return sum(inspection.nbytes for inspection in self._held.values())

    def __len__(self) -> int:
        return len(self._held)


inspections = InspectionStore()


def handle(inspection: Inspection, model: str, store: InspectionStore = inspections) -> dict[str, Any]:
    """Keep an inspection and say what a view needs to draw its frame: sizes and tokens, no patterns."""
    return {
        "id": store.put(inspection),
        "model": model,
        "layers": inspection.layers,
        "heads": inspection.heads,
        "kv_heads": inspection.kv_heads,
        "causal": inspection.causal,
        "tokens": inspection.tokens,
        "columns": inspection.columns or inspection.tokens,
        "crossed": inspection.columns is not None,
        "ids": inspection.ids,
        "predictions": [[token, round(p, 7)] for token, p in inspection.predictions],
        "grid": inspection.grid,
        "cut": inspection.cut,
    }


def _bytes(data: np.ndarray, dims: tuple[int, ...]) -> Response:
    headers = {"x-dims": ",".join(map(str, dims)), "cache-control": "private, max-age=3600"}
    return Response(data.tobytes(), media_type="application/octet-stream", headers=headers)


def _missing(sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=404)


def routes(workbench: Any = None, store: InspectionStore = inspections) -> list[Route]:
    """The routes above, for the server's list."""

    def found(request: Request) -> Inspection | JSONResponse:
        inspection = store.get(request.path_params["id"])
        return _missing("This inspection is no longer kept.") if inspection is None else inspection

    def number(request: Request, name: str, count: int) -> int | JSONResponse:
        value = request.path_params[name]
        if value.isascii() and value.isdigit() and len(value) < 9 and int(value) < count:
            return int(value)
        return _missing(f"There is no {name} {value[:20]}: they go from 0 to {count - 1}.")

    def lod(request: Request) -> Response:
        if isinstance(seen := found(request), Response):
            return seen
        pooled = pool(seen.patterns)
        return _bytes(pooled, pooled.shape)

    def head(request: Request) -> Response:
        if isinstance(seen := found(request), Response):
            return seen
        if isinstance(layer := number(request, "layer", seen.layers), Response):
            return layer
        if isinstance(which := number(request, "head", seen.heads), Response):
            return which
        return _bytes(seen.patterns[layer, which], seen.patterns.shape[2:])

    def mean(request: Request) -> Response:
        if isinstance(seen := found(request), Response):
            return seen
        if "layer" not in request.path_params:
            return _bytes(seen.overall, seen.overall.shape)
        if isinstance(layer := number(request, "layer", seen.layers), Response):
            return layer
        return _bytes(seen.means[layer], seen.overall.shape)

    def hidden(request: Request) -> Response:
        if isinstance(seen := found(request), Response):
            return seen
        flat = np.concatenate([seen.norms.ravel(), seen.points.ravel(), seen.share]).astype("<f4")
        return _bytes(flat, seen.norms.shape)

    def image(request: Request) -> Response:
        if isinstance(seen := found(request), Response):
            return seen
        return _missing("This is no image.") if seen.image is None else _bytes(seen.image, seen.image.shape)

    return [
        Route("/attention/{id}/lod", lod),
        Route("/attention/{id}/head/{layer}/{head}", head),
        Route("/attention/{id}/mean", mean),
        Route("/attention/{id}/mean/{layer}", mean),
        Route("/attention/{id}/hidden", hidden),
        Route("/attention/{id}/image", image),
    ]
