"""Measures the pause in a replica's work when it dies or is replaced.

``python -m bench.takeover`` runs two healers, two predictors and two detectors on private servers
(PostgreSQL for the healers). ``--rounds`` times it kills one of each with SIGKILL, and asks one to
end as an upgrade does, and measures until the other one leads, or works all partitions. The last
line is JSON: the longest and the median rest in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.surroundings import surroundings
from shared.embedded.broker import EmbeddedBroker
from tests.postgresql import PrivatePostgres
from tests.replicas import Replica, Replicas

_POLL_S = 0.05
_PARTITIONS = 4
_OWNED = re.compile(rb"^barograph_partitions_owned (\d+)", re.MULTILINE)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    with _servers() as (folder, broker, database):
        for service in ("healer", "detector", "predictor"):
            replicas = _two(service, folder, broker, database)
            try:
                for _ in range(options.rounds):
                    for how, end in (("killed", _kill), ("replaced", _replace)):
                        rest = _rest(service, replicas, end)
                        found.setdefault(f"{service} {how}", []).append(rest)
                        print(f"{service} {how}: {rest:.2f} s", flush=True)
            finally:
                replicas.stop()
    shown = {
        what: {"longest_s": round(max(rests), 2), "median_s": round(statistics.median(rests), 2)}
        for what, rests in found.items()
    }
    print(json.dumps({"bench": "takeover", **shown, **surroundings("pika")}))
    return 0


@contextmanager
def _servers() -> Iterator[tuple[Path, EmbeddedBroker, PrivatePostgres]]:
    with tempfile.TemporaryDirectory(prefix="bench-takeover-") as directory:
        folder = Path(directory)
        folder.chmod(folder.stat().st_mode | 0o011)  # PostgreSQL's user passes through
        (folder / "postgresql").mkdir()
        database = PrivatePostgres(folder / "postgresql", ("healer",))
        broker = EmbeddedBroker(folder / "broker")
        database.start()
        try:
            broker.start()
            yield folder, broker, database
        finally:
            broker.stop()
            database.stop()


def _two(service: str, folder: Path, broker: EmbeddedBroker, database: PrivatePostgres) -> Replicas:
    environment: Mapping[str, str] = {
        "BAROGRAPH_BROKER_URL": broker.url(service),
        "BAROGRAPH_STATE_DIR": str(folder / service),
    }
    if service == "healer":
        environment = {**environment, "BAROGRAPH_STORE_URL": database.url("healer")}
    ports = {"healer": "BAROGRAPH_HEALER_HTTP_PORT", "detector": "BAROGRAPH_DETECTOR_GATEWAY_PORT"}
    return Replicas(service, folder, environment, ports.get(service, ""))


def _rest(service: str, replicas: Replicas, end: Callable[[Replica], None]) -> float:
    """End a replica that works, and return for how long what it did was done by nobody."""
    _until(lambda: all(each.ready() for each in replicas.running))
    gone = _worker(service, replicas)
    (other,) = [each for each in replicas.running if each is not gone]
    before = _acquired(other)

    def followed() -> bool:
        if service == "healer":
            return other.leads()
        return _acquired(other) >= before + _PARTITIONS // 2

    begun = time.monotonic()
    end(gone)
    _until(followed)
    rest = time.monotonic() - begun
    replicas.replace(gone)
    return rest


def _worker(service: str, replicas: Replicas) -> Replica:
    """A replica that works: the leader, or one of two that have half the partitions each."""
    if service == "healer":
        return replicas.leader()
    _until(lambda: all(_owned(each) == _PARTITIONS // 2 for each in replicas.running))
    return replicas.running[0]


def _kill(replica: Replica) -> None:
    replica.process.kill()


def _replace(replica: Replica) -> None:
    os.kill(replica.process.pid, signal.SIGTERM)


def _acquired(replica: Replica) -> int:
    """The partitions that it has taken over so far, by its log: metrics are renewed later."""
    return replica.process.log.read_bytes().count(b'"partition_acquired"')


def _owned(replica: Replica) -> int:
    found = _OWNED.search(replica.page("metrics"))
    return int(found[1]) if found else 0


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
