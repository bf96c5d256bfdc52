"""Plans: what a job would be, as the task service answers before anything is handed in."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel

from services.client.api.faults import Faults, refusal
from services.client.api.jobs import allowed, in_own_name, known_already
from services.client.healer_api import HealerApi
from services.client.logs import Followers
from services.client.model import ReadModel
from services.client.records import PlanView
from services.client.settings import ClientSettings
from shared.contracts import JobPlan
from shared.messaging import Publisher
from shared.storage import ObjectStore

_LONGEST_S = 60.0


class Asked(BaseModel):
    """The broker has the question; the answer is at /plans/{request_id}."""

    request_id: str


class Plans:
    """Asks the task service what jobs would be."""

    def __init__(
        self,
        publisher: Publisher,
        model: ReadModel,
        objects: ObjectStore,
        settings: ClientSettings,
        healer: HealerApi,
    ) -> None:
        self._publisher = publisher
        self._model = model
        self._objects = objects
        self._settings = settings
        self._healer = healer

    def ask(self, body: dict[str, Any], *, server: bool) -> str:
        """The id by which the answer is found. Its package need not be uploaded, or named."""
        request_id = f"plan-{uuid.uuid4().hex}"
        named = "package" in body
        digest = body.get("package_sha256") or "not-uploaded"
        body.setdefault("package", f"{self._settings.s3_bucket}:packages:{digest}.tar.gz")
        body.setdefault("job_id", request_id[: len("plan-") + 12])
        job = in_own_name(body)
        known_already(self._model, job)
        allowed(job, self._healer)
        if named and not self._is_there(job.package):
            raise refusal(409, "there is no such package; upload it first", "package")
        self._model.ask(request_id, datetime.now(UTC))
        self._publisher.publish([JobPlan(request_id=request_id, job=job, server=server)])
        return request_id

    def _is_there(self, package: str) -> bool:
        """Whether a package that lies in our own bucket does."""
        bucket, prefix, name = package.split(":")
        if bucket != self._settings.s3_bucket:
            return True  # not ours to look at
        return self._objects.head(bucket, f"{prefix}/{name}") is not None


def router(plans: Plans, model: ReadModel, followers: Followers) -> APIRouter:
    """The routes below /plans."""
    routes = APIRouter(
        prefix="/plans",
        tags=["plans"],
        responses={404: {"model": Faults}, 422: {"model": Faults}, 503: {"model": Faults}},
    )

    @routes.post("", status_code=202)
    def ask(body: Annotated[dict[str, Any], Body()], server: bool = True) -> Asked:
        """Ask what the job in the body would be. Its package need not be uploaded, or named."""
        return Asked(request_id=plans.ask(body, server=server))

    @routes.get("/{request_id}")
    async def answer(
        request_id: Annotated[str, Path(pattern=r"^plan-[0-9a-f]{32}$")],
        wait_s: Annotated[float, Query(ge=0, le=_LONGEST_S, allow_inf_nan=False)] = 0,
    ) -> PlanView:
        """The answer; null while there is none, for which ``wait_s`` is waited."""
        deadline = time.monotonic() + wait_s
        while True:
            plan = await asyncio.to_thread(model.plan, request_id)
            if plan is None:
                raise refusal(404, f"there is no plan {request_id}", "request_id")
            left = deadline - time.monotonic()
            if plan.answer is not None or left <= 0:
                return plan
            await followers.wait(left)

    return routes
