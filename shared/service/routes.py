"""Routes of an HTTP API, created once for all applications of a process."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute


def below(routed: Iterable[tuple[APIRouter, str]]) -> list[BaseRoute]:
    """The routes of each router below its prefix, in order; to be kept and given to each app.

    FastAPI works out their parameters when they are first used, which takes longer than a request.
    """
    first = FastAPI(openapi_url=None)
    for router, prefix in routed:
        first.include_router(router, prefix=prefix)
    return first.router.routes
