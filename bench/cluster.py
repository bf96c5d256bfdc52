"""Jobs on Kubernetes: a real control plane, KWOK's nodes, the real task service and broker.

    scripts/cluster.sh run .venv/bin/python -m bench.cluster [PART ...] [--jobs N --rate R ...]

Nothing of a pod really runs: a stand-in says over the broker what launchers say. Each part may be
run alone; its figures are printed as it ends, and the last line is one JSON object with all of
them, also when a part fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from bench.cluster_figures import Figures, last, launched, spread
from bench.cluster_rig import Bare, Rig, Spent, job, until
from bench.rendezvous import rendezvous
from services.task import states
from services.task.records import JobRecord, Verdict
from shared.changes import changed
from shared.contracts import JobCancel, JobState
from tests.cluster.watched import Created

_GPU = {"cpu": 1, "memory": "1Gi", "gpu": 1}
_THREADS = 8
_MIN_S = 0.1
_SETTLE_S = 5.0
_STUCK_S = 120.0
_WARM_UP_JOBS = 10
"""Jobs before those that count: connections are made, code and caches are warm."""
_CHUNK = 500


def finished(count: int) -> Iterable[JobRecord]:
    """Jobs that have ended and been cleaned up, whose records are still kept."""
    now = datetime.now(UTC) - timedelta(hours=1)
    for number in range(count):
        record, _ = states.accept(job(f"old-{number}"), now)
        for step in (states.start, states.run):
            record, _ = step(record, now)
        verdict = Verdict(state=JobState.SUCCEEDED, reason="worker-0 ended well", at=now)
        record, _ = states.finish(record, verdict, now)
        yield changed(record, cleaned=True)


class Parts:
    """The parts, in the order of a whole run.

    Args:
        rig: what runs.
        options: how many, how fast.
    """

    def __init__(self, rig: Rig, options: argparse.Namespace) -> None:
        self._rig, self._options = rig, options
        self._running: list[str] = []

    def rendezvous(self) -> Figures:
        """The time from the last report until every member has the spec, by number of members."""
        directory, broker = self._rig.task.directory, self._rig.broker
        return {
            str(members): rendezvous(broker, directory, members)
            for members in self._options.members
        }

    def history(self) -> Figures:
        """Launch latency with nothing in history, and with many finished jobs, in turns."""
        rig, options = self._rig, self._options
        late: dict[str, list[float]] = {"without": [], "with": []}
        for turn in range(options.turns):
            for name, records in (("without", 0), ("with", options.history)):
                rig.forget()
                rig.restart(finished(records))
                self._warm(f"{name}-{turn}")
                ids = [f"{name}-{turn}-{number}" for number in range(options.few)]
                handed = rig.submit(ids, options.slow)
                launched(rig.jobs, rig.pods, handed)
                late[name] += [min(rig.jobs.seen[i].values()) - at for i, at in handed.items()]
                self._drained(ids, 120)
        spreads = {name: spread(values) for name, values in late.items()}
        ratio = float(np.median(late["with"]) / np.median(late["without"]))
        return {**spreads, "ratio_p50": round(ratio, 3), "finished_jobs": options.history}

    def bare(self) -> Figures:
        """The control plane alone: the same objects from a plain loop, then all deleted at once."""
        rig, options = self._rig, self._options
        bare = Bare(rig.kube, _THREADS)
        first = [f"first-{n}" for n in range(_WARM_UP_JOBS)]
        launched(bare.jobs, bare.pods, bare.submit(first, 10))
        ids = [f"bare-{number}" for number in range(options.jobs)]
        before, began = rig.cpu(), time.monotonic()
        handed = bare.submit(ids, options.rate)
        took = time.monotonic() - began
        parts = launched(bare.jobs, bare.pods, handed, 150)
        figures = parts | self._load(before, began, took, len(ids))
        time.sleep(_SETTLE_S)
        rest = ids[: options.together]
        before, began = rig.cpu(), time.monotonic()
        bare.end(rest)
        figures["together"] = self._together(bare.pods, rest, began)
        figures["together_load"] = self._load(before, began, 0.0, len(rest))
        bare.stop()
        return figures

    def steady(self) -> Figures:
        """Jobs at a fixed rate, all of them kept running; the service's memory then."""
        rig, options = self._rig, self._options
        rig.forget()
        rig.restart(finished(options.history))
        first = rig.submit([f"first-{number}" for number in range(_WARM_UP_JOBS)], 10)
        until(lambda: first.keys() <= set(rig.events.having("job.running")), 60)
        ids = [f"steady-{number}" for number in range(options.jobs)]
        before, began = rig.cpu(), time.monotonic()
        handed = rig.submit(ids, options.rate)
        took = time.monotonic() - began
        parts = launched(rig.jobs, rig.pods, handed, 150)
        until(lambda: set(ids) <= set(rig.events.having("job.running")), 120)
        figures = parts | self._events(handed) | self._load(before, began, took, len(ids))
        self._running = ids
        running = len(set(ids) & set(rig.events.having("job.running")))
        before, began = rig.cpu(), time.monotonic()
        time.sleep(10)
        idle = (rig.cpu() - before).get("task", 0.0) / (time.monotonic() - began)
        return {
            **figures,
            "known": options.history + len(ids),
            "running": running,
            "task_rss_mib": rig.task_rss_mib(),
            "task_cores_idle": round(idle, 3),
        }

    def pending(self) -> Figures:
        """The time from the scheduler's word on a pod until its job shows the reason."""
        rig = self._rig
        rig.nodes(1, cpu="4", memory="16Gi", gpu=1)
        until(lambda: False, 3)
        first = rig.submit(["gpu-first"], 1, resources=_GPU)
        until(lambda: set(first) <= set(rig.events.having("job.running")), 60)
        ids = [f"gpu-{number}" for number in range(self._options.stuck)]
        rig.submit(ids, 2, resources=_GPU)

        def pending_at(job_id: str) -> float | None:
            return rig.events.at[job_id].get("job.pending")

        until(lambda: all(pending_at(each) and each in rig.pods.stuck for each in ids), 60)
        stuck = rig.pods.stuck
        late = [at - stuck[each] for each in ids if (at := pending_at(each)) and each in stuck]
        rig.events.publish(JobCancel(job_id=each) for each in [*ids, *first])
        return spread(late)

    def end(self) -> Figures:
        """The time from a launcher's last message until its pod is gone: singly, then the rest."""
        rig, options = self._rig, self._options
        if not self._running:
            self._running = [f"end-{number}" for number in range(options.together + options.few)]
            rig.submit(self._running, options.rate)
            until(lambda: set(self._running) <= set(rig.events.having("job.running")), 300)
        ids, self._running = self._running, []
        some, rest = ids[: options.few], ids[options.few :][: options.together]
        said = {}
        for each in some:
            said[each] = time.monotonic()
            rig.end([each])
            time.sleep(1 / options.slow)
        until(lambda: all(each in rig.pods.gone for each in some), 120)
        one = spread(rig.pods.gone[each] - at for each, at in said.items() if each in rig.pods.gone)
        before, began = rig.cpu(), time.monotonic()
        rig.end(rest)
        together = self._together(rig.pods, rest, began)
        parts = self._load(before, began, 0.0, len(rest))
        return {"one_by_one": one, "together": together, **parts}

    def _events(self, handed: dict[str, float]) -> Figures:
        """The time from handing a job over until its events were at a client."""
        at = self._rig.events.at
        return {
            f"to_{kind}": spread(
                at[i][f"job.{kind}"] - t for i, t in handed.items() if f"job.{kind}" in at[i]
            )
            for kind in ("accepted", "starting", "running")
        }

    def _together(self, pods: Created, ids: Sequence[str], began: float) -> Figures:
        """Wait until the pods of each of these jobs are gone."""
        all_gone = until(lambda: all(each in pods.gone for each in ids), 240)
        late = [pods.gone[each] - began for each in ids if each in pods.gone]
        left = [each for each in ids if each not in pods.gone]
        return spread(late) | {"all_gone": all_gone} | ({"left": left[:5]} if left else {})

    def burst(self) -> Figures:
        """All jobs at once: recorded; run as far as the time given allows, the rest cancelled."""
        rig, options = self._rig, self._options
        ids = [f"burst-{number}" for number in range(options.burst)]
        mine = set(ids)
        before, began = rig.cpu(), time.monotonic()
        rig.submit(ids, 5000.0)
        recorded = until(lambda: mine <= set(rig.events.having("job.accepted")), 300, 0.5)
        recorded_s = time.monotonic() - began
        self._drained(ids, options.burst_s)
        ran = mine & set(rig.events.ended())
        figures = self._load(before, began, 0.0, len(ran)) | {"task_rss_mib": rig.task_rss_mib()}
        rest = [each for each in ids if each not in ran]
        for first in range(0, len(rest), _CHUNK):
            rig.events.publish(JobCancel(job_id=each) for each in rest[first : first + _CHUNK])

        self._calm(mine)
        ended = mine & set(rig.events.ended())
        return {
            "jobs": len(ids),
            "recorded": len(mine & set(rig.events.having("job.accepted"))),
            "all_recorded": recorded,
            "recorded_s": round(recorded_s, 1),
            "ran": len(ran),
            "cancelled": len(rest),
            "lost": len(mine - ended),
            "lost_last_said": {
                each: last(rig.events.at[each]) for each in sorted(mine - ended)[:5]
            },
            "two_ends": sum(len(rig.events.ends[each]) > 1 for each in ended),
            "two_jobs": len(mine & rig.jobs.doubled().keys()),
            "two_pods": len(mine & rig.pods.doubled().keys()),
            "left": len(mine & (rig.jobs.seen.keys() - rig.jobs.gone.keys())),
            **figures,
        }

    def _calm(self, ids: set[str]) -> None:
        """Wait until all have ended and nothing of them is left, or nothing moves any more."""
        rig, before, since = self._rig, (-1, -1), time.monotonic()
        while time.monotonic() - since < _STUCK_S:
            ended = len(ids & set(rig.events.ended()))
            left = len(ids & (rig.jobs.seen.keys() - rig.jobs.gone.keys()))
            if ended == len(ids) and not left:
                return
            if (ended, left) != before:
                before, since = (ended, left), time.monotonic()
            print(f"{ended} of {len(ids)} ended, Jobs of {left} left", flush=True)
            time.sleep(_SETTLE_S)

    def _drained(self, ids: Sequence[str], timeout_s: float) -> bool:
        """End these jobs once they run; whether all are gone in time."""
        rig, ended = self._rig, set[str]()

        def gone() -> bool:
            running = (set(ids) & set(rig.events.having("job.running"))) - ended
            rig.end(running)
            ended.update(running)
            return all(each in rig.jobs.gone for each in ids)

        # Ten thousand jobs are not gone through twenty times a second.
        return until(gone, timeout_s, every_s=max(0.05, len(ids) / 20_000))

    def _warm(self, name: str) -> None:
        """One job whose figures do not count: connections are made, code is loaded."""
        ids = [f"warm-{name}"]
        self._rig.submit(ids, 1)
        self._drained(ids, 120)

    def _load(self, before: Spent, began: float, handing_s: float, jobs: int) -> Figures:
        """The wall time and each program's processor time since ``before``."""
        took = time.monotonic() - began
        cpu = self._rig.cpu() - before
        return {
            "took_s": round(took, 1),
            **({"handed_per_s": round(jobs / handing_s, 1)} if handing_s else {}),
            "cpu_s": {name: round(s, 1) for name, s in sorted(cpu.items()) if s >= _MIN_S},
            "task_cpu_ms_per_job": round(1000 * cpu.get("task", 0.0) / max(jobs, 1), 2),
        }


PARTS = ("rendezvous", "history", "bare", "steady", "pending", "end", "burst")


def main() -> int:
    """Measure and print."""
    options = _options()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        parts = _measured(Rig(Path(name), stack), options)
    failed = any("error" in figures for figures in parts.values())
    surroundings: Figures = {
        "options": vars(options),
        "kubernetes": "1.34",
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }
    print(json.dumps(parts | surroundings))
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS) + "; default all")
    parser.add_argument("--jobs", type=int, default=500, help="jobs at --rate, kept running")
    parser.add_argument("--rate", type=float, default=50.0, help="submits a second")
    parser.add_argument("--slow", type=float, default=5.0, help="submits a second, one by one")
    parser.add_argument("--few", type=int, default=30, help="jobs of the one-by-one parts")
    parser.add_argument("--together", type=int, default=285, help="jobs that end at once")
    parser.add_argument("--turns", type=int, default=2, help="of with and without history")
    parser.add_argument("--history", type=int, default=10_000, help="finished jobs known")
    parser.add_argument("--stuck", type=int, default=10, help="jobs that find no node")
    parser.add_argument("--burst", type=int, default=10_000, help="jobs at once")
    parser.add_argument("--burst-s", type=float, default=120.0, help="seconds they may run")
    parser.add_argument("--members", type=int, nargs="*", default=[64, 1000])
    options = parser.parse_args()
    options.parts = options.parts or [*PARTS]
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


def _measured(rig: Rig, options: argparse.Namespace) -> dict[str, Figures]:
    parts, found = Parts(rig, options), dict[str, Figures]()
    rig.nodes(10, cpu="400", memory="4Ti", pods=300)
    for name in (part for part in PARTS if part in options.parts):
        part: Callable[[], Figures] = getattr(parts, name)
        try:
            found[name] = part()
        except Exception as error:  # noqa: BLE001 - the other parts' figures are still printed
            traceback.print_exc()
            found[name] = {"error": repr(error)}
        # The API server ends a watch that is too slow; ours go on, later.
        found[name]["watches_resumed"] = rig.jobs.resumed + rig.pods.resumed
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
