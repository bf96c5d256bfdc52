"""Jobs on Kubernetes: a real control plane, KWOK's nodes, the real task service and broker.

    scripts/cluster.sh run .venv/bin/python -m bench.cluster [--jobs N --rate R --burst N ...]

Nothing of a pod really runs: a stand-in says over the broker what launchers say. Each part's
figures are printed as it ends; the last line is one JSON object with all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil

from bench.rendezvous import rendezvous
from services.task import states
from services.task.records import JOBS, JobRecord, Verdict
from shared.contracts import JobCancel, JobState, JobSubmit, Member, PodExited, Role
from shared.embedded.broker import EmbeddedBroker
from shared.embedded.object_store import EmbeddedObjectStore
from shared.messaging import Bus
from shared.store import Store
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.cluster.launchers import FakeLaunchers
from tests.cluster.plane import ControlPlane
from tests.cluster.programs import private_network
from tests.cluster.task_process import TaskProcess
from tests.cluster.watched import Created, JobEvents
from tests.conftest import ObjectStoreUnderTest

_GPU = {"cpu": 1, "memory": "1Gi", "gpu": 1}
_TICK_S = 0.1
_CHUNK = 500

Figures = dict[str, object]


class Rig:
    """Everything that runs, and what was seen of it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.broker = EmbeddedBroker(folder / "broker")
        self.broker.start()
        stack.callback(self.broker.stop)
        store = EmbeddedObjectStore(folder / "store")
        store.start()
        stack.callback(store.stop)
        plane = ControlPlane(folder / "plane", private_network())
        plane.start()
        stack.callback(plane.stop)
        self.kube = Kube(plane.kubeconfig, folder / "plane", plane)
        self.nodes = FakeNodes(self.kube)
        self.nodes.start()
        stack.callback(self.nodes.stop)
        namespace = self.kube.new_namespace()
        known = ObjectStoreUnderTest(store.url, store.access_key, store.secret_key)
        self.task = TaskProcess(self.kube, namespace, self.broker, known, folder)
        self.task.start()
        stack.callback(self.task.kill)
        self.events = JobEvents(self.broker)
        self.events.start()
        stack.callback(self.events.stop)
        self.jobs = Created(self.kube, namespace)
        self.pods = Created(self.kube, namespace, Created.PODS)
        for watch in (self.jobs, self.pods):
            watch.start()
            stack.callback(watch.stop)
        launchers = FakeLaunchers(self.kube, namespace, self.broker)
        launchers.start()
        stack.callback(launchers.stop)
        self._member = Bus(self.broker.url("member"), "member", "bench", word="bench")
        self._member.start(consume=False)
        self._member.wait_ready(60)
        stack.callback(self._member.stop)

    def submit(self, ids: Sequence[str], rate: float, **fields: object) -> dict[str, float]:
        """Hand over jobs, ``rate`` a second; when each was."""
        handed: dict[str, float] = {}
        step = max(1, round(rate * _TICK_S))
        began = time.monotonic()
        for first in range(0, len(ids), step):
            time.sleep(max(0.0, began + first / rate - time.monotonic()))
            part = ids[first : first + step]
            handed |= dict.fromkeys(part, time.monotonic())
            self.events.publish(_job(job_id, **fields) for job_id in part)
        return handed

    def end(self, ids: Iterable[str]) -> None:
        """What the jobs' launchers would say when the programs have ended well."""
        member, now = Member(role=Role.WORKER, index=0, incarnation=1), datetime.now(UTC)
        told = [PodExited(job_id=job, member=member, exit_code=0, at=now) for job in ids]
        for first in range(0, len(told), _CHUNK):
            self._member.publish(told[first : first + _CHUNK], timeout_s=120)

    def restart(self, history: Iterable[JobRecord]) -> None:
        """The task service anew, with these jobs in its history."""
        self.task.stop()
        store = Store(self.task.database)
        with store.transaction() as records:
            records.put_all(JOBS, list(history))
        store.close()
        self.task.start()


def _job(job_id: str, **fields: object) -> JobSubmit:
    values = {"job_id": job_id, "name": "bench", "package": "bucket:p:a.tar.gz", "main": "m.py"}
    return JobSubmit.model_validate(values | fields)


def finished(count: int) -> Iterable[JobRecord]:
    """Jobs that have ended and been cleaned up, whose records are still kept."""
    now = datetime.now(UTC) - timedelta(hours=1)
    for number in range(count):
        record, _ = states.accept(_job(f"old-{number}"), now)
        for step in (states.start, states.run):
            record, _ = step(record, now)
        verdict = Verdict(state=JobState.SUCCEEDED, reason="worker-0 ended well", at=now)
        record, _ = states.finish(record, verdict, now)
        yield record.model_copy(update={"cleaned": True})


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came to hold in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def spread(values: Iterable[float]) -> Figures:
    """p50, p95 and the largest, in seconds."""
    found = np.array(list(values))
    if not found.size:
        return {"n": 0}
    quantiles = {"p50_s": 0.5, "p95_s": 0.95, "max_s": 1.0}
    told = {name: round(float(np.quantile(found, q)), 3) for name, q in quantiles.items()}
    return {"n": int(found.size), **told}


def launched(rig: Rig, handed: dict[str, float], timeout_s: float = 120) -> Figures:
    """From handing a job over until its objects were there, as a watch shows them."""
    until(lambda: all(job in rig.pods.seen for job in list(handed)), timeout_s)
    first = {
        name: [
            min(watch.seen[job].values()) - at for job, at in handed.items() if job in watch.seen
        ]
        for name, watch in (("job", rig.jobs), ("pod", rig.pods))
    }
    return {f"to_{name}": spread(values) for name, values in first.items()}


def drained(rig: Rig, ids: Sequence[str], timeout_s: float) -> bool:
    """End these jobs once they run; whether all are gone in time."""
    told: set[str] = set()

    def gone() -> bool:
        running = (set(ids) & set(rig.events.having("job.running"))) - told
        rig.end(running)
        told.update(running)
        return all(job in rig.jobs.gone for job in ids)

    return until(gone, timeout_s)


def history(rig: Rig, options: argparse.Namespace) -> Figures:
    """Launch latency with nothing in history, and with many finished jobs, in turns."""
    found: dict[str, list[Figures]] = {"without": [], "with": []}
    for turn in range(options.turns):
        for name, records in (("without", 0), ("with", options.history)):
            _forget(rig)
            rig.restart(finished(records))
            ids = [f"{name}-{turn}-{number}" for number in range(options.few)]
            found[name].append(launched(rig, rig.submit(ids, options.slow)))
            drained(rig, ids, 120)
    return dict(found)


def _forget(rig: Rig) -> None:
    """An empty database."""
    rig.task.stop()
    for path in rig.task.directory.glob("task.db*"):
        path.unlink()


def steady(rig: Rig, options: argparse.Namespace) -> tuple[Figures, list[str]]:
    """Jobs at a fixed rate, all of them kept running; the service's memory then."""
    ids = [f"steady-{number}" for number in range(options.jobs)]
    cpu = psutil.Process(rig.task.pid).cpu_times()
    began = time.monotonic()
    handed = rig.submit(ids, options.rate)
    took = time.monotonic() - began
    told = launched(rig, handed, 150)
    until(lambda: set(ids) <= set(rig.events.having("job.running")), 120)
    process = psutil.Process(rig.task.pid)
    spent = process.cpu_times()
    return {
        **told,
        "handed_per_s": round(len(ids) / took, 1),
        "running": len(set(ids) & set(rig.events.having("job.running"))),
        "task_cpu_s": round(spent.user + spent.system - cpu.user - cpu.system, 1),
        "task_rss_mib": round(process.memory_info().rss / 2**20, 1),
    }, ids


def reasons(rig: Rig, options: argparse.Namespace) -> Figures:
    """From the scheduler's word on a pod until its job tells the reason."""
    rig.nodes(1, cpu="4", memory="16Gi", gpu=1)
    until(lambda: False, 3)
    first = rig.submit(["gpu-first"], 1, resources=_GPU)
    until(lambda: set(first) <= set(rig.events.having("job.running")), 60)
    ids = [f"gpu-{number}" for number in range(options.stuck)]
    rig.submit(ids, 2, resources=_GPU)

    def told(job_id: str) -> float | None:
        return rig.events.at[job_id].get("job.pending")

    until(lambda: all(told(job) and job in rig.pods.stuck for job in ids), 60)
    late = [at - rig.pods.stuck[job] for job in ids if (at := told(job)) and job in rig.pods.stuck]
    rig.events.publish(JobCancel(job_id=job) for job in [*ids, *first])
    return spread(late)


def ends(rig: Rig, ids: Sequence[str], options: argparse.Namespace) -> Figures:
    """From a launcher's last word until its pod is gone, one after another, then all the rest."""
    some = ids[: options.few]
    said = {}
    for job in some:
        said[job] = time.monotonic()
        rig.end([job])
        time.sleep(1 / options.slow)
    until(lambda: all(job in rig.pods.gone for job in some), 120)
    one = spread(rig.pods.gone[job] - at for job, at in said.items() if job in rig.pods.gone)
    began = time.monotonic()
    rest = ids[len(some) :]
    rig.end(rest)
    all_gone = until(lambda: all(job in rig.pods.gone for job in rest), 300)
    return {
        "one_by_one": one,
        "together": len(rest),
        "together_all_gone": all_gone,
        "together_s": round(time.monotonic() - began, 1),
    }


def burst(rig: Rig, options: argparse.Namespace) -> Figures:
    """All jobs at once: recorded, then run as far as the time given allows."""
    ids = [f"burst-{number}" for number in range(options.burst)]
    began = time.monotonic()
    rig.submit(ids, 1e9 if options.burst < _CHUNK else 5000.0)
    recorded = until(lambda: set(ids) <= set(rig.events.having("job.accepted")), 300)
    recorded_s = time.monotonic() - began
    finished_all = drained(rig, ids, options.burst_s)
    mine = set(ids)
    ended = mine & set(rig.events.ended())
    return {
        "jobs": len(ids),
        "recorded": len(mine & set(rig.events.having("job.accepted"))),
        "all_recorded": recorded,
        "recorded_s": round(recorded_s, 1),
        "ended_and_gone": finished_all,
        "ended": len(ended),
        "run_s": round(time.monotonic() - began, 1),
        "two_ends": sum(len(rig.events.ends[job]) > 1 for job in ended),
        "two_jobs": len(mine & rig.jobs.doubled().keys()),
        "two_pods": len(mine & rig.pods.doubled().keys()),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs at --rate, kept running")
    parser.add_argument("--rate", type=float, default=50.0, help="submits a second")
    parser.add_argument("--slow", type=float, default=5.0, help="submits a second, one by one")
    parser.add_argument("--few", type=int, default=40, help="jobs of the one-by-one parts")
    parser.add_argument("--turns", type=int, default=2, help="of with and without history")
    parser.add_argument("--history", type=int, default=9000, help="finished jobs known")
    parser.add_argument("--stuck", type=int, default=10, help="jobs that find no node")
    parser.add_argument("--burst", type=int, default=10_000, help="jobs at once")
    parser.add_argument("--burst-s", type=float, default=240.0, help="seconds they may run")
    parser.add_argument("--members", type=int, nargs="*", default=[64, 1000])
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        told = _measured(Rig(Path(name), stack), options)
    told |= {
        "options": vars(options),
        "kubernetes": "1.34",
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }
    print(json.dumps(told))
    return 0


def _measured(rig: Rig, options: argparse.Namespace) -> Figures:
    found: Figures = {}

    def note(name: str, figures: object) -> None:
        found[name] = figures
        print(f"{name}: {json.dumps(figures)}", flush=True)

    for members in options.members:
        note(f"rendezvous_{members}", rendezvous(rig.broker, rig.task.directory, members))
    rig.nodes(10, cpu="400", memory="4Ti", pods=300)
    note("history", history(rig, options))
    steady_told, ids = steady(rig, options)
    note("steady", steady_told)
    note("pending", reasons(rig, options))
    note("end", ends(rig, ids, options))
    note("burst", burst(rig, options))
    return found


if __name__ == "__main__":
    sys.exit(main())
