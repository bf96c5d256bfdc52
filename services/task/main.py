"""Wiring of the task service."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from services.task import handlers
from services.task.admission import Capacity
from services.task.planning import LocalPlanner, Planning
from services.task.reconcile import Reconciler
from services.task.runtimes.local import LocalRuntime, sweep
from services.task.settings import TaskSettings
from services.task.validation import Quotas
from shared.contracts import (
    ClusterSpecReady,
    JobCancel,
    JobPlan,
    JobRemove,
    JobSubmit,
    PodExited,
    PodStarted,
    RendezvousTimedOut,
)
from shared.service import Periodic, Service
from shared.service.service import ServiceUnit
from shared.storage import S3Store
from shared.store import Store

_RECONCILE_S = 0.5
_PLAN_S = 5.0


def build(settings: TaskSettings) -> Service:
    """The service, ready to start."""

    def unit() -> AbstractContextManager[ServiceUnit]:
        return service.unit()  # which comes after those who use it

    quotas = Quotas(settings.cpu, settings.memory, gpu=0, members=settings.max_members)
    secret = settings.s3_secret_key.get_secret_value()
    reconciler = Reconciler(
        settings,
        LocalRuntime(settings.work_dir),
        S3Store(settings.s3_url, settings.s3_access_key, secret),
        unit=unit,
        context=lambda unit: service.context(unit.records),
    )
    planner = LocalPlanner(quotas, Capacity(settings.cpu, settings.memory), unit)
    planning = Planning(planner, unit, now=lambda: service.context().now)
    service = Service(
        "task",
        settings,
        handlers={
            JobSubmit: handlers.job_submit(quotas),
            JobPlan: handlers.job_plan,
            JobCancel: handlers.job_cancel,
            JobRemove: handlers.job_remove,
            ClusterSpecReady: handlers.clusterspec_ready,
            RendezvousTimedOut: handlers.rendezvous_timed_out,
            PodStarted: handlers.pod_started,
            PodExited: handlers.pod_exited,
        },
        store=Store(settings.store_url.get_secret_value()),
        periodic=[
            Periodic("reconcile", _RECONCILE_S, reconciler.run),
            Periodic("plan", _PLAN_S, planning.run),
        ],
    )
    return service


def main() -> None:
    """Run until told to stop; ``sweep`` instead stops all members this machine runs."""
    settings = TaskSettings.load("task")
    if sys.argv[1:] == ["sweep"]:
        print(f"{sweep(settings.work_dir)} member(s) stopped")  # noqa: T201 - for people
        return
    build(settings).run()
