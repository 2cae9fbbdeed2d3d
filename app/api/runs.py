"""What the run views fetch and ask for.

GET  /runs                     {"runs": […]}: newest first, each with its last loss and speed
GET  /runs/ID?after=CURSOR     {"run": …, "rows": [[step, name, value, time], …], "cursor": …, "samples": […], "memory_mb": …}
POST /runs/ID/stop, /resume, /delete, /rename (JSON {"name": …})     {"ok": true}

A wrong id or a thing that cannot be done: 404 or 409, {"error": sentence}.
"""

import json
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import StoreError, VitrineError
from core.paths import runs_dir

FACTS = ("id", "name", "kind", "state", "model", "created", "started", "ended", "error", "device")


def progress(workbench: Any, run: str, after: int = 0) -> dict[str, Any]:
    """A run and what it logged after the cursor. Raises StoreError for an unknown id."""
    store = workbench.store
    found = store.run(run)
    rows, cursor = store.metrics(run, after)
    memory = store.last_system(run)
    return {
        "run": {**{key: found[key] for key in FACTS}, "config": found["config"]},
        "rows": [[row["step"], row["name"], row["value"], row["time"]] for row in rows],
        "cursor": cursor,
        "samples": [{key: sample[key] for key in ("step", "prompt", "output")} for sample in store.samples(run)],
        "checkpoints": [row["step"] for row in store.checkpoints(run)],
        "memory_mb": memory["rss_mb"] if memory else None,
        "adapter": (runs_dir() / run / "adapter" / "adapter_config.json").is_file(),
        "folder": str(runs_dir() / run) if found["kind"] == "training" else None,
    }


def overview(workbench: Any) -> dict[str, Any]:
    """All runs in short."""
    latest = workbench.store.latest(("loss", "tokens_per_second"))
    return {"runs": [{**{k: run[k] for k in FACTS}, **latest.get(run["id"], {})} for run in workbench.store.runs()]}


def routes(workbench: Any) -> list[Route]:
    """The routes above, for the server's list."""

    async def answer(work: Callable[[], Any]) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(work), headers={"cache-control": "no-store"})
        except StoreError as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        except VitrineError as error:
            return JSONResponse({"error": str(error)}, status_code=409)

    async def listing(request: Request) -> Response:
        return await answer(lambda: overview(workbench))

    async def one(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        cursor = int(after) if after.isascii() and after.isdigit() and len(after) < 18 else 0
        return await answer(lambda: progress(workbench, request.path_params["id"], cursor))

    async def act(request: Request) -> Response:
        run, what = request.path_params["id"], request.path_params["what"]
        jobs = workbench.jobs
        deeds = {"stop": jobs.stop, "resume": jobs.resume, "delete": jobs.delete}
        if what == "rename":
            try:
                name = str(json.loads(await request.body())["name"]).strip()[:120]
            except (ValueError, KeyError, TypeError):
                name = ""
            if not name:
                return JSONResponse({"error": "Give the run a name."}, status_code=409)
            deeds["rename"] = lambda run: workbench.store.rename(run, name)
        if what not in deeds:
            return JSONResponse({"error": f"A run cannot be asked to {what[:20]}."}, status_code=404)

        def work() -> dict[str, bool]:
            workbench.store.run(run)
            deeds[what](run)
            return {"ok": True}

        return await answer(work)

    return [
        Route("/runs", listing),
        Route("/runs/{id}", one),
        Route("/runs/{id}/{what}", act, methods=["POST"]),
    ]
