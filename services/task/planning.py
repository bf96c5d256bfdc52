"""Plans: what a job would become and whether it could run, without creating anything.

A handler only records the request; ``Planning`` answers it, because a planner may have to ask an
API server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import structlog
from pydantic import BaseModel, ConfigDict, JsonValue

from services.task.admission import Capacity, admit
from services.task.records import ACTIVE_STATES, JOBS, PLANS
from services.task.runtime import RuntimeUnavailable
from services.task.states import accept
from services.task.validation import Quotas, faults
from shared.contracts import (
    Fault,
    JobPlan,
    JobPlanned,
    JobState,
    JobSubmit,
    PlannedRole,
    Scheduling,
)
from shared.service import ServiceUnit
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)

_AT_ONCE = 20
_WAITING_SEEN = 1000
_FORGOTTEN = timedelta(minutes=2)
"""Nobody waits longer for the answer; a request that crashes a planner expires after this."""


Unit = Callable[[], AbstractContextManager[ServiceUnit]]


class Plan(BaseModel):
    """A runtime's plan of a job, without starting it."""

    model_config = ConfigDict(frozen=True)

    faults: tuple[Fault, ...] = ()
    """Every reason for which a submit would be refused."""
    notes: tuple[str, ...] = ()
    """Warnings for people about ignored fields and surprises."""
    manifests: tuple[dict[str, JsonValue], ...] = ()
    """The objects that would be created, as JSON, without secrets."""
    fits_now: bool | None = None
    """True if it could start at once; None if unknown."""
    waiting_reason: str = ""
    """The reason for which it would wait when ``fits_now`` is False."""
    checked: bool = False
    """True if an API server has checked the manifests."""


class Planner(Protocol):
    """Plans jobs by a runtime's rules and capacity, without creating anything."""

    @property
    def runtime(self) -> Literal["local", "kubernetes"]:
        """The runtime's name."""

    def faults(self, submit: JobSubmit) -> tuple[Fault, ...]:
        """Return why a submit is refused, every reason; asks nobody."""

    def refusals(self, submit: JobSubmit) -> tuple[Fault, ...]:
        """The same, plus the API server's verdict where there is one and it answers."""

    def plan(self, submit: JobSubmit, *, server: bool) -> Plan:
        """The plan of ``submit``.

        Args:
            submit: the job; its package need not have been uploaded.
            server: whether the API server is to check the objects (its dry run), too.

        Raises:
            RuntimeUnavailable: when the runtime cannot be asked now.
        """


class LocalPlanner:
    """Plans for members that are processes of this machine.

    Args:
        quotas: what one job may have.
        total: what all jobs together may have.
        unit: one transaction of the service.
        problem: why no program can run on this machine at all; '' when it can.
    """

    runtime: Literal["local", "kubernetes"] = "local"

    def __init__(
        self, quotas: Quotas, total: Capacity, unit: Unit, problem: Callable[[], str] = lambda: ""
    ) -> None:
        self._quotas, self._total, self._unit = quotas, total, unit
        self._problem = problem

    def faults(self, submit: JobSubmit) -> tuple[Fault, ...]:
        found = (*faults(submit, self._quotas), *_in_pods_only(submit))
        if problem := self._problem():
            return (*found, Fault(field="", problem=problem))
        return found

    def refusals(self, submit: JobSubmit) -> tuple[Fault, ...]:
        """There is no API server to ask."""
        return self.faults(submit)

    def plan(self, submit: JobSubmit, *, server: bool) -> Plan:
        """Validation and admission, as a submit would meet them."""
        found = self.faults(submit)
        notes = tuple(_notes(submit))
        if found:
            return Plan(faults=found, notes=notes, fits_now=False)
        with self._unit() as unit:
            waiting = unit.records.find(JOBS, status=JobState.ACCEPTED, limit=_WAITING_SEEN)
            active = unit.records.find(JOBS, status=list(ACTIVE_STATES), limit=_WAITING_SEEN)
        candidate, _event = accept(submit, datetime.now(UTC))
        *_, (_last, reason) = admit([*waiting, candidate], active, self._total)
        return Plan(notes=notes, fits_now=not reason, waiting_reason=reason)


def _in_pods_only(submit: JobSubmit) -> Iterable[Fault]:
    """The features that a program would miss where it is no pod."""
    for field in ("volumes", "env_from", "env_value_from", "containers", "service_account"):
        if getattr(submit, field):
            yield Fault(
                field=field, problem="jobs are processes of this machine; only pods have it"
            )


def _notes(submit: JobSubmit) -> Iterable[str]:
    """The fields that a local run does not honour."""
    asked = [submit.resources, *submit.role_resources.values()]
    ignored = {
        "image": submit.image or submit.role_images,
        "placement": submit.placement != "any",
        "priority_class": submit.priority_class,
        "queue": submit.queue,
        "image_pull_secrets": submit.image_pull_secrets,
        "scheduling": submit.scheduling != Scheduling() or submit.role_scheduling,
        "resources.storage": any(each.storage for each in asked),
        "resources.shared_memory": any(each.shared_memory for each in asked),
    }
    if named := [name for name, given in ignored.items() if given]:
        yield f"jobs run as processes of this machine: {', '.join(named)} will have no effect"


class Planning:
    """Answers requests for plans.

    Args:
        planner: the runtime's.
        unit: one transaction of the service.
        now: the time.
    """

    def __init__(self, planner: Planner, unit: Unit, now: Callable[[], datetime]) -> None:
        self._planner, self._unit, self._now = planner, unit, now

    def run(self) -> None:
        """Answer everything asked so far."""
        with self._unit() as unit:
            asked = unit.records.find(PLANS, limit=_AT_ONCE)
        for request in asked:
            if self._now() - request.at < _FORGOTTEN:
                answer = self._answer(request.asked)
            else:
                log.warning("plan_forgotten", request=request.asked.request_id)
                answer = None
            with self._unit() as unit:
                unit.records.delete(PLANS, request.asked.request_id)
                if answer is not None:
                    unit.emit(self._planned(request.asked, answer))

    def _answer(self, asked: JobPlan) -> Plan:
        try:
            return self._planner.plan(asked.job, server=asked.server)
        except RuntimeUnavailable as error:
            return Plan(notes=(f"the runtime cannot be asked now, try again: {error}",))
        except Unavailable:
            raise
        except Exception:
            # An unexpected error in one request must not keep the others waiting.
            log.exception("plan_failed", request=asked.request_id)
            return Plan(notes=("no plan could be made; the task service's log says why",))

    def _planned(self, asked: JobPlan, plan: Plan) -> JobPlanned:
        job = asked.job
        return JobPlanned(
            request_id=asked.request_id,
            runtime=self._planner.runtime,
            roles=tuple(
                PlannedRole(role=role, members=number, resources=job.resources_of(role))
                for role, number in job.roles().items()
            ),
            cpu=job.total_cpu,
            memory_bytes=job.total_memory,
            gpu=job.total_gpu,
            at=self._now(),
            **dict(plan),
        )
