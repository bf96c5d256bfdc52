"""Wiring of the task service."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from services.task import handlers
from services.task.admission import capacity
from services.task.planning import LocalPlanner, Planner, Planning, Unit
from services.task.reconcile import Reconciler
from services.task.runtime import Runtime
from services.task.runtimes.directories import scratch_root
from services.task.runtimes.local import LocalRuntime, occupied, specs, sweep
from services.task.settings import TaskSettings
from services.task.tfjobs.controller import TFJobs
from services.task.tfjobs.source import ClusterTFJobs
from services.task.users import Ground, Users
from services.task.validation import Quotas
from shared.cluster import Cluster
from shared.contracts import (
    ClusterSpecReady,
    JobCancel,
    JobPlan,
    JobRemove,
    JobSubmit,
    Message,
    PodExited,
    PodStarted,
    RendezvousTimedOut,
)
from shared.service import Context, Handler, Periodic, Service, ServiceUnit
from shared.settings import start
from shared.storage import ObjectStore, S3Store
from shared.store import opened

_RECONCILE_S, _RECONCILE_PAUSE_S = 0.5, 0.1
_PLAN_S = 5.0
_TFJOBS_S, _TFJOBS_PAUSE_S = 1.0, 0.2


def build(settings: TaskSettings) -> Service:
    """The service, ready to start."""

    def unit() -> AbstractContextManager[ServiceUnit]:
        return service.unit()  # which comes after those who use it

    def context(unit: ServiceUnit) -> Context:
        return service.context(unit.records)

    def may_act() -> None:
        service.require_leadership()

    secret = settings.s3_secret_key.get_secret_value()
    store = S3Store(settings.s3_url, settings.s3_access_key, secret)
    runtime, planner, leading = _runtime(settings, store, unit, may_act)
    reconciler = Reconciler(settings, runtime, store, unit, context, may_act=may_act)
    planning = Planning(planner, unit, now=lambda: service.context().now)
    submit = handlers.job_submit(planner.refusals)
    periodic = [
        Periodic("reconcile", _RECONCILE_S, reconciler.run, pause_s=_RECONCILE_PAUSE_S),
        Periodic("plan", _PLAN_S, planning.run),
    ]
    closing = [runtime.close]
    if settings.tfjob_namespaces:
        source = ClusterTFJobs(Cluster(settings.kubeconfig, may_act), settings.tfjob_namespaces)
        leading.append(source.start)
        projects = {place: project for project, place in settings.project_namespaces.items()}
        tfjobs = TFJobs(source, store, settings.s3_bucket, unit, context, submit, projects)
        periodic.append(Periodic("tfjobs", _TFJOBS_S, tfjobs.run, pause_s=_TFJOBS_PAUSE_S))
        closing.append(source.close)
    service = Service(
        "task",
        settings,
        handlers=_handlers(submit),
        store=opened(settings.store_url.get_secret_value()),
        periodic=periodic,
        closing=closing,
        elected=True,
        leading=leading,
    )
    return service


def _handlers(submit: Handler) -> dict[type[Message], Handler]:
    return {
        JobSubmit: submit,
        JobPlan: handlers.job_plan,
        JobCancel: handlers.job_cancel,
        JobRemove: handlers.job_remove,
        ClusterSpecReady: handlers.clusterspec_ready,
        RendezvousTimedOut: handlers.rendezvous_timed_out,
        PodStarted: handlers.pod_started,
        PodExited: handlers.pod_exited,
    }


def _runtime(
    settings: TaskSettings, store: ObjectStore, unit: Unit, may_act: Callable[[], None]
) -> tuple[Runtime, Planner, list[Callable[[], None]]]:
    """The runtime, its planner, and the functions to call before it is used."""
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
        return runtime, LocalPlanner(quotas, capacity(settings), unit, ground.problem), []
    # Only here: the local runtime needs nothing of the kubernetes library.
    from services.task.runtimes.kubernetes import wiring  # noqa: PLC0415 - local jobs do without Kubernetes

    kubernetes, planner, view = wiring.build(settings, store, may_act)
    return kubernetes, planner, [view.start]


def _local(settings: TaskSettings, unit: Unit) -> LocalRuntime:
    """Programs run as users of their own where we may give them some."""
    if os.geteuid() != 0:
        return LocalRuntime(settings.work_dir, specs(settings))
    work_dir = settings.work_dir
    users = Users(settings.first_uid, settings.uids, unit, lambda: occupied(work_dir))
    return LocalRuntime(work_dir, specs(settings), users)


def main() -> int:
    """Run until a signal asks for the end; ``sweep`` instead stops all members this machine runs.

    The exit status is ``settings.start``'s.
    """
    return start(TaskSettings, "task", _run)


def _run(settings: TaskSettings) -> None:
    if sys.argv[1:] == ["sweep"]:
        print(f"members stopped: {sweep(settings.work_dir)}")  # noqa: T201 - for people
        return
    build(settings).run()
