"""200 jobs and 1,000,000 samples flow while every service is killed and the broker restarts.

No job is lost, run twice or given a wrong end, and the verdicts are those of an undisturbed run.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from examples.demo.tap import Tap
from shared.contracts import JobSubmit, MetricBatch
from shared.contracts.metrics import Sample
from shared.embedded.patience import Patience
from shared.embedded.process import EmbeddedError, wait_until
from shared.embedded.stack import MODULES, Stack
from shared.messaging import Bus
from shared.packages import pack
from shared.storage import S3Store
from shared.topology import Principal
from tests.strangers import open_way_to
from tests.waiting import LIMIT_S

JOBS, FAILING = 200, 20
HOSTS, ITEMS, POINTS, PER_BATCH = 10, 100, 1000, 1000
_ENGINE = {
    "combination": {"mode": "branch", "aperiodic_needed": 1},
    "detectors": {
        "short_term": {"window_points": 60, "blocks": 6, "min_points": 15},
        "long_term": {"min_points": 15, "settle": 5},
    },
    "stale_after_s": 1e9,
    "silent_after_s": 1e9,
}
_PROGRAM = """\
import os, pathlib, sys, uuid
runs = pathlib.Path(sys.argv[1])
(runs / f"{sys.argv[2]}.{uuid.uuid4().hex}").touch()
print("the last line of", sys.argv[2], flush=True)
sys.exit(3 if sys.argv[2].startswith("bad") else 0)
"""
SOURCE = "simulated"


@contextmanager
def _stack(folder: Path, modules: dict[str, str]) -> Iterator[Stack]:
    env = {
        "BAROGRAPH_DETECTOR_ENGINE": json.dumps(_ENGINE),
        "BAROGRAPH_DETECTOR_HEARTBEAT_S": "0",
        "BAROGRAPH_DETECTOR_SNAPSHOT_EVERY_S": "1",
        "BAROGRAPH_TASK_CAPACITY_CPU": "12",
        "BAROGRAPH_TASK_CAPACITY_MEMORY": str(2**40),
    }
    stack = Stack(folder, env=env, modules=modules)
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def _batches() -> Iterator[MetricBatch]:
    """1,000,000 samples of noise with plateaus, each host's in order of time."""
    chance = np.random.default_rng(7)
    start = 1_750_000_000_000
    for first in range(0, POINTS, PER_BATCH // ITEMS):
        for host in range(HOSTS):
            values = 100 + chance.normal(size=(PER_BATCH // ITEMS, ITEMS))
            yield MetricBatch.model_construct(
                host=f"{SOURCE}{host}",
                samples=tuple(
                    Sample.model_construct(
                        item=f"queue{item}",
                        time_ms=start + (first + row) * 60_000,
                        value=float(
                            values[row, item]
                            + (300 if (first + row + 37 * host + 11 * item) % 350 > 340 else 0)
                        ),
                        labels={},
                    )
                    for row in range(PER_BATCH // ITEMS)
                    for item in range(ITEMS)
                ),
            )


def _publish_samples(stack: Stack) -> None:
    bus = Bus(stack.broker.url("outside"), Principal.OUTSIDE)
    bus.start(consume=False)
    bus.wait_ready()
    for batch in _batches():
        bus.publish([batch], timeout_s=300)
    bus.stop()


def _verdict(event: dict[str, Any]) -> tuple[Any, ...]:
    series = event["series"]
    return event["key"], event["event_id"], series["host"], series["item"], event["time_ms"]


def _until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, LIMIT_S, what, alive=lambda: True)


def _drained(stack: Stack, queue: str) -> bool:
    try:
        url = f"{stack.broker.admin_url}/api/queues/%2F/{queue}"
        return bool(httpx.get(url, timeout=60).raise_for_status().json().get("messages") == 0)
    except httpx.HTTPError:
        return False


def _quiet(stack: Stack, tap: Tap) -> bool:
    """Return whether the samples are through: nothing waits, and for a while no verdict came.

    A partition's worker may be silent for several seconds while its kernels are compiled, and for
    longer before its first verdict.
    """
    count, patience = len(tap.take()), Patience(20)
    while not patience.is_over():
        time.sleep(0.5)
    return _drained(stack, "detector.samples") and len(tap.take()) == count > 0


def _undisturbed_verdicts(folder: Path) -> Counter[tuple[Any, ...]]:
    with _stack(folder, {"detector": MODULES["detector"]}) as stack:
        tap = Tap(stack.broker.admin_url, "tap", {"from.detector": ["anomaly.#"]})
        _publish_samples(stack)
        _until(lambda: _quiet(stack, tap), "all verdicts")
        return Counter(_verdict(event) for event in tap.seen)


def _submit_jobs(stack: Stack, folder: Path, runs: Path) -> list[str]:
    code = folder / "tiny" / "code"
    code.mkdir(parents=True)
    (code / "main.py").write_text(_PROGRAM)
    store = S3Store(
        stack.object_store.url, stack.object_store.access_key, stack.object_store.secret_key
    )
    store.ensure_bucket("barograph")
    packed = pack(folder / "tiny", folder / "tiny.tar.gz")
    store.put("barograph", packed.key, packed.path)
    names = [f"{'bad' if n % (JOBS // FAILING) == 0 else 'good'}-{n}" for n in range(JOBS)]
    bus = Bus(stack.broker.url("outside"), Principal.OUTSIDE)
    bus.start(consume=False)
    bus.wait_ready()
    for name in names:
        job = JobSubmit(
            job_id=name,
            name="tiny",
            main="main.py",
            args=(str(runs), name),
            package=f"barograph:packages:{packed.sha256}.tar.gz",
        )
        bus.publish([job], timeout_s=300)
    bus.stop()
    return names


def _disturb(stack: Stack, progress: Callable[[], int]) -> None:
    """Kill each service once and restart the broker once, spread over the jobs' ends."""
    acts: list[Callable[[], None]] = [
        *(lambda name=name: stack.kill9(name) for name in ("task", "detector", "autospec")),
        lambda: stack.restart("broker"),
        *(lambda name=name: stack.kill9(name) for name in ("client", "predictor", "healer")),
    ]
    for number, act in enumerate(acts, 1):
        _until(lambda n=number: progress() >= n * JOBS // (len(acts) + 2), "some progress")
        act()


@pytest.mark.timeout(2400)  # Two runs of a million samples; a busy machine takes its time.
def test_nothing_is_lost_doubled_or_wrong_when_everything_is_killed_once(tmp_path: Path) -> None:
    expected = _undisturbed_verdicts(tmp_path / "calm")
    assert len(expected) > HOSTS, "the samples must have something to say"

    runs = tmp_path / "runs"
    runs.mkdir()
    open_way_to(tmp_path)
    runs.chmod(0o777)
    with _stack(tmp_path / "stormy", dict(MODULES)) as stack:
        jobs = Tap(stack.broker.admin_url, "tap.jobs", {"from.task": ["job.#"]})
        verdicts = Tap(stack.broker.admin_url, "tap.verdicts", {"from.detector": ["anomaly.#"]})

        def ended() -> dict[str, list[str]]:
            ends: dict[str, list[str]] = {}
            unique = {(e["job_id"], e.get("sequence")): e for e in jobs.take() if "state" in e}
            for event in unique.values():
                if event["state"] in ("succeeded", "failed", "cancelled"):
                    ends.setdefault(event["job_id"], []).append(event["state"])
            return ends

        samples = threading.Thread(target=_publish_samples, args=(stack,), daemon=True)
        samples.start()
        names = _submit_jobs(stack, tmp_path, runs)
        _disturb(stack, lambda: len(ended()))
        _until(lambda: len(ended()) == JOBS, "the end of every job")
        samples.join()

        def seen() -> set[tuple[Any, ...]]:
            # The node agent's own machine has much to say in such a storm.
            ours = (e for e in verdicts.take() if e["series"]["host"].startswith(SOURCE))
            return {_verdict(event) for event in ours}

        # A service that was killed on a busy machine may take minutes to go on.
        with suppress(EmbeddedError):
            _until(lambda: seen() >= set(expected), "the verdicts of the undisturbed run")
        _until(lambda: _quiet(stack, verdicts), "all verdicts")

        right = {n: ["failed" if n.startswith("bad") else "succeeded"] for n in names}
        assert ended() == right
        assert Counter(p.name.split(".")[0] for p in runs.iterdir()) == Counter(names)
        assert seen() == set(expected)
