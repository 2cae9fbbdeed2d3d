"""What the Models tab fetches and asks for.

GET  /models                       {"models": […], "downloads": {name: …}, "folder": …}, as app/shelf.py has them, and
                                   "residents": {name: {"bytes", "running", "waiting", "calls", "idle"}}, the models in memory,
                                   "budget": the bytes that models may hold together, "idle_limit": seconds
POST /models/fetch, /models/stop, /models/unload   (JSON {"name": …})     {"ok": true}

A name that is none or a thing that cannot be done: 409, {"error": sentence}.
"""

import json
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import VitrineError


def routes(workbench: Any) -> list[Route]:
    """The routes above, for the server's list."""
    shelf = workbench.shelf

    async def listing(request: Request) -> Response:
        found = await run_in_threadpool(shelf.report)
        held = {"residents": workbench.residents(), "budget": workbench.budget, "idle_limit": workbench.idle}
        return JSONResponse({**found, **held}, headers={"cache-control": "no-store"})

    async def act(request: Request) -> Response:
        deed = {"fetch": shelf.fetch, "stop": shelf.stop, "unload": workbench.unload}.get(request.path_params["what"])
        if deed is None:
            return JSONResponse({"error": "Models can be fetched, a fetching stopped, and a model unloaded."}, status_code=404)
        try:
            name = str(json.loads(await request.body())["name"])[:200]
        except (ValueError, KeyError, TypeError):
            return JSONResponse({"error": "Give the name of a model."}, status_code=409)
        try:
            await run_in_threadpool(deed, name)
        except VitrineError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        return JSONResponse({"ok": True})

    return [Route("/models", listing), Route("/models/{what}", act, methods=["POST"])]
