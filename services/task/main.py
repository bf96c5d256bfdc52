"""Wiring of the task service."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager

from services.task import handlers
from services.task.admission import capacity
from services.task.planning import LocalPlanner, Planner, Planning, Unit
from services.task.reconcile import Reconciler
from services.task.runtimes import Runtime
from services.task.runtimes.directories import scratch_root
from services.task.runtimes.local import LocalRuntime, occupied, specs, sweep
from services.task.settings import TaskSettings
from services.task.users import Ground, Users
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
from shared.service import Periodic, Service, ServiceUnit
from shared.settings import start
from shared.storage import ObjectStore, S3Store
from shared.store import Store

_RECONCILE_S, _RECONCILE_PAUSE_S = 0.5, 0.1
_PLAN_S = 5.0


def build(settings: TaskSettings) -> Service:
    """The service, ready to start."""

    def unit() -> AbstractContextManager[ServiceUnit]:
        return service.unit()  # which comes after those who use it

    secret = settings.s3_secret_key.get_secret_value()
    store = S3Store(settings.s3_url, settings.s3_access_key, secret)
    runtime, planner = _runtime(settings, store, unit)
    reconciler = Reconciler(
        settings,
        runtime,
        store,
        unit=unit,
        context=lambda unit: service.context(unit.records),
    )
    planning = Planning(planner, unit, now=lambda: service.context().now)
    service = Service(
        "task",
        settings,
        handlers={
            JobSubmit: handlers.job_submit(planner.faults),
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
            Periodic("reconcile", _RECONCILE_S, reconciler.run, pause_s=_RECONCILE_PAUSE_S),
            Periodic("plan", _PLAN_S, planning.run),
        ],
        closing=[runtime.close],
    )
    return service


def _runtime(settings: TaskSettings, store: ObjectStore, unit: Unit) -> tuple[Runtime, Planner]:
    """Where members run, and who knows what may run there."""
    if settings.runtime == "local":
        quotas = Quotas(
            settings.cpu,
            settings.memory,
            gpu=0,
            members=settings.max_members,
            bucket=settings.s3_bucket,
        )
        runtime = _local(settings, unit)
        places = [settings.work_dir, scratch_root(settings.work_dir)]
        ground = Ground(settings.first_uid, places)
        return runtime, LocalPlanner(quotas, capacity(settings), unit, ground.problem)
    # Only here: the local runtime needs nothing of the kubernetes library.
    from services.task.runtimes.kubernetes import wiring  # noqa: PLC0415

    return wiring.build(settings, store)


def _local(settings: TaskSettings, unit: Unit) -> LocalRuntime:
    """Programs run as users of their own where we may give them some."""
    if os.geteuid() != 0:
        return LocalRuntime(settings.work_dir, specs(settings))
    work_dir = settings.work_dir
    users = Users(settings.first_uid, settings.uids, unit, lambda: occupied(work_dir))
    return LocalRuntime(work_dir, specs(settings), users)


def main() -> int:
    """Run until told to stop; ``sweep`` instead stops all members this machine runs.

    The exit status is ``settings.start``'s.
    """
    return start(TaskSettings, "task", _run)


def _run(settings: TaskSettings) -> None:
    if sys.argv[1:] == ["sweep"]:
        print(f"{sweep(settings.work_dir)} member(s) stopped")  # noqa: T201 - for people
        return
    build(settings).run()
