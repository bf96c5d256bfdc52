"""The way of a sample, whole: HTTP → gateway → RabbitMQ streams → detector → verdict on ``alerts``.

For each number of series: a private broker and the detector service as real processes, senders
in a third; all series are sent once (first sight: every label is understood, every state made),
then as fast as answers come, then at a share of that rate to see how old a sample is when its
alert arrives. A rate counts only what the detector has judged: the clock stops when it has caught
up. With judges of their own, the streams are filled once more while those are stopped: how fast do
they work alone, one or two of them? The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pika
import psutil

from bench.path_sender import PROBE
from shared.embedded.broker import EmbeddedBroker
from shared.embedded.process import LOOPBACK, OwnedProcess, free_ports

_ENGINE = {"alarm_confirm_s": 0, "alarm_clear_s": 0}
_DONE = re.compile(r'^barograph_samples_total\{outcome="(\w+)"\} (\S+)$', re.MULTILINE)
_OWNED = re.compile(r"^barograph_partitions_owned (\S+)$", re.MULTILINE)
_CAUGHT_UP_S = 600
_STOPPED_S = 10.0
"""A judge that is stopped longer loses its connection to the broker."""


class Sender:
    """``bench.path_sender`` in a process of its own."""

    def __init__(self, **start: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.path_sender"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask(start)

    def ask(self, command: dict[str, object]) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Tap:
    """The age of each probe's sample when its alert arrives on ``alerts``."""

    def __init__(self, url: str) -> None:
        self.ages: list[float] = []
        self.others = 0
        self._stop = threading.Event()
        self._link = pika.BlockingConnection(pika.URLParameters(url))
        channel = self._link.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "from.detector", "anomaly.#")
        channel.basic_consume(queue, self._event, auto_ack=True)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _event(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        event = json.loads(body)
        if event["series"]["item"] == PROBE:
            self.ages.append(time.time() - event["time_ms"] / 1000)
        else:
            self.others += 1

    def _run(self) -> None:
        while not self._stop.is_set():
            self._link.process_data_events(0.2)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._link.close()


class Stack:
    """Broker, and the detector: one process in both roles, or a gateway and so many judges."""

    def __init__(self, directory: Path, partitions: int, judges: int) -> None:
        self.broker = EmbeddedBroker(directory / "broker", partitions=partitions)
        self.broker.start()
        self._directory, self._partitions = directory, partitions
        (self._port,) = free_ports(1)
        self.url = f"http://{LOOPBACK}:{self._port}"
        roles = [("gateway", "judge")] if not judges else [("gateway",), *[("judge",)] * judges]
        self._parts = [self._started(number, *each) for number, each in enumerate(roles)]
        self._until_ready()

    def _started(self, number: int, *roles: str) -> Part:
        (health,) = free_ports(1)
        settings = {
            "BROKER_URL": self.broker.url("detector"),
            "STATE_DIR": str(self._directory / "state"),
            "INSTANCE": str(number),
            "HEALTH_PORT": str(health),
            "GATEWAY_PORT": str(self._port),
            "METRIC_PARTITIONS": str(self._partitions),
            "LOG_LEVEL": "WARNING",
            "ENGINE": json.dumps(_ENGINE),
        }
        # Versions from before there were roles know no such setting, and need none.
        if len(roles) == 1:
            settings["ROLES"] = json.dumps(roles)
        process = OwnedProcess(
            [sys.executable, "-m", "services.detector"],
            log=self._directory / f"detector-{number}.log",
            env=os.environ | {f"BAROGRAPH_DETECTOR_{k}": v for k, v in settings.items()},
        )
        return Part("+".join(roles), process, health)

    def _until_ready(self) -> None:
        deadline = time.monotonic() + 120
        judges = [part for part in self._parts if "judge" in part.name]
        while time.monotonic() < deadline and all(part.process.alive() for part in self._parts):
            with contextlib.suppress(httpx.HTTPError):
                ready = all(part.get("readyz").status_code == 200 for part in self._parts)
                owned = [float(_OWNED.findall(part.get("metrics").text)[0]) for part in judges]
                # Shares are equal before the first sample comes.
                if ready and sum(owned) == self._partitions and max(owned) - min(owned) <= 1:
                    return
            time.sleep(0.2)
        raise RuntimeError("\n".join(part.process.log_tail() for part in self._parts))

    def judged(self) -> float:
        """Samples the judges are through with."""
        done = 0.0
        for part in self._parts:
            counts = {name: float(value) for name, value in _DONE.findall(part.get("metrics").text)}
            done += sum(counts.get(name, 0.0) for name in ("judged", "not_judged", "late"))
        return done

    def catch_up(self, target: float) -> None:
        """Wait until so many are judged."""
        deadline = time.monotonic() + _CAUGHT_UP_S
        while self.judged() < target:
            dead = not all(part.process.alive() for part in self._parts)
            if time.monotonic() > deadline or dead:
                raise RuntimeError(f"{self.judged():.0f} of {target:.0f} judged")
            time.sleep(0.1)

    @contextlib.contextmanager
    def stopped_judges(self) -> Iterator[None]:
        """Judges do nothing meanwhile, and notice nothing of it."""
        judges = [part.process.pid for part in self._parts if part.name == "judge"]
        for pid in judges:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in judges:
                os.kill(pid, signal.SIGCONT)

    def use(self) -> dict[str, tuple[float, int]]:
        """(CPU seconds, resident bytes) of each part; several judges count together."""
        found = {"broker": _use(self.broker.pid or 0)}
        for part in self._parts:
            cpu, resident = _use(part.process.pid)
            before = found.get(part.name, (0.0, 0))
            found[part.name] = (before[0] + cpu, before[1] + resident)
        return found

    def close(self) -> None:
        for part in self._parts:
            part.process.stop()
        self.broker.stop()


@dataclass
class Part:
    """A process of the detector, its roles, and where it says how it is."""

    name: str
    process: OwnedProcess
    health: int

    def get(self, page: str) -> httpx.Response:
        return httpx.get(f"http://{LOOPBACK}:{self.health}/{page}", timeout=60)


def _use(pid: int) -> tuple[float, int]:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    cpu = sum(sum(member.cpu_times()[:2]) for member in family)
    return cpu, sum(member.memory_info().rss for member in family)


@contextlib.contextmanager
def _running(partitions: int, judges: int) -> Iterator[Stack]:
    directory = Path(tempfile.mkdtemp(prefix="bench-path-"))
    stack = Stack(directory, partitions, judges)
    try:
        yield stack
    finally:
        stack.close()
        shutil.rmtree(directory, ignore_errors=True)


def measure(series: int, options: argparse.Namespace) -> dict[str, Any]:
    """All phases for one number of series."""
    with _running(options.partitions, options.judges) as stack:
        sender = Sender(url=stack.url, series=series, connections=options.connections, probes=64)
        tap = Tap(stack.broker.url())
        try:
            first = _phase(stack, sender, tap, seconds=0, rounds=1, rate=0)
            _phase(stack, sender, tap, seconds=options.seconds / 4, rounds=0, rate=0)
            fast = _phase(stack, sender, tap, seconds=options.seconds, rounds=0, rate=0)
            rate = options.share * fast["samples_per_s"]
            steady = _phase(stack, sender, tap, seconds=options.seconds, rounds=0, rate=rate)
            backlog = _backlog(stack, sender, options.seconds) if options.judges else None
        finally:
            tap.close()
            sender.close()
    phases = {"first_sight": first, "fastest": fast, "steady": steady, "backlog": backlog}
    return {"series": series, **phases}


def _backlog(stack: Stack, sender: Sender, seconds: float) -> dict[str, Any]:
    """Return how fast judges alone work: the streams are filled while they are stopped."""
    done = stack.judged()
    with stack.stopped_judges():
        sent = sender.ask({"seconds": min(seconds, _STOPPED_S), "rounds": 0, "rate": 0})
        # On a busy machine looking takes time, in which they would work already.
        before = stack.use()
    begin = time.monotonic()
    stack.catch_up(done + sent["samples"])
    took, after = time.monotonic() - begin, stack.use()
    spent = after["judge"][0] - before["judge"][0]
    broker = after["broker"][0] - before["broker"][0]
    return {
        "samples": int(sent["samples"]),
        "samples_per_s": round(sent["samples"] / took),
        "judges_cpu_us_per_sample": round(1e6 * spent / sent["samples"], 2),
        "broker_cpu_us_per_sample": round(1e6 * broker / sent["samples"], 2),
        "cores_used": round(spent / took, 2),
    }


def _phase(
    stack: Stack, sender: Sender, tap: Tap, *, seconds: float, rounds: int, rate: float
) -> dict[str, Any]:
    tap.ages, tap.others = [], 0
    before, done = stack.use(), stack.judged()
    begin = time.monotonic()
    sent = sender.ask({"seconds": seconds, "rounds": rounds, "rate": rate})
    stack.catch_up(done + sent["samples"])
    took = time.monotonic() - begin
    time.sleep(0.5)
    after, samples = stack.use(), sent["samples"]
    ages = np.array(tap.ages) if tap.ages else np.array([np.nan])
    return {
        "samples": int(samples),
        "samples_per_s": round(samples / took),
        "accepted_per_s": round(samples / sent["seconds"]),
        "refused_requests": int(sent["refused"]),
        "request_p99_s": round(sent["request_p99_s"], 3),
        "alert_p50_s": round(float(np.percentile(ages, 50)), 3),
        "alert_p99_s": round(float(np.percentile(ages, 99)), 3),
        "probe_alerts": len(tap.ages),
        "other_events": tap.others,
        "cpu_us_per_sample": {
            name: round(1e6 * spent / samples, 2)
            for name, spent in {
                **{part: after[part][0] - before[part][0] for part in after},
                "senders": sent["cpu_s"],
            }.items()
        },
        "rss_mb": {name: round(after[name][1] / 1e6) for name in after},
    }


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--connections", type=int, default=16, help="senders at the same time")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument(
        "--judges", type=int, default=0, help="processes beside a gateway; 0: both roles in one"
    )
    parser.add_argument("--share", type=float, default=0.6, help="of the highest rate, for ages")
    options = parser.parse_args()
    results = []
    for series in options.series:
        results.append(measure(series, options))
        print(json.dumps(results[-1], indent=1), flush=True)
    about = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    print(json.dumps({"bench": "path", "results": results, **about}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
