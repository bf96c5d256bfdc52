"""No-op messages per second, at least once: our runner beside raw pika and three libraries.

All in one run against a private RabbitMQ node; rounds are interleaved so that the machine's load
hits all alike, and the median round counts. Beside each rate stands the consumer's own CPU time
per message, which other load changes little. The last line is JSON with figures and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.contenders import CONTENDERS, ON_POSTGRESQL, RESULT
from bench.surroundings import surroundings
from shared.embedded.broker import EmbeddedBroker
from tests.postgresql import PrivatePostgres

COUNTS = {
    **dict.fromkeys(("barograph", "pika_ack_50", "barograph_with_store", ON_POSTGRESQL), 40_000),
    "pika_ack_each": 15_000,
}
_OTHERS = 6_000
_TIMEOUT_S = 180
_LIBRARIES = ("pika", "dramatiq", "celery", "faststream", "pydantic")


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual counts")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    options = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in options.only}
    costs: dict[str, list[float]] = {name: [] for name in options.only}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        broker = EmbeddedBroker(folder / "broker")
        broker.start()
        try:
            with _stores(options.only, options.rounds, folder) as stores:
                for number in range(options.rounds):
                    for name in options.only:
                        count = int(COUNTS.get(name, _OTHERS) * options.scale)
                        store = stores(name, number)
                        seconds, cpu_s = _measure(name, broker.url(), count, store)
                        rates[name].append(count / seconds)
                        costs[name].append(cpu_s / count * 1e6)
                        print(
                            f"round {number + 1} {name:<24} {rates[name][-1]:>9,.0f} messages/s"
                            f" {costs[name][-1]:>7.1f} us of CPU each",
                            flush=True,
                        )
        finally:
            broker.stop()
    print(json.dumps(_summary(rates) | {"cpu_us": _medians(costs)}))
    return 0


@contextmanager
def _stores(names: Sequence[str], rounds: int, folder: Path) -> Iterator[Callable[[str, int], str]]:
    """The URL of an empty database for each contender and round."""
    if ON_POSTGRESQL not in names:
        yield lambda name, number: f"sqlite:///{folder}/{name}-{number}.db"
        return
    folder.chmod(folder.stat().st_mode | 0o011)  # PostgreSQL's user passes through
    (folder / "postgresql").mkdir()
    database = PrivatePostgres(folder / "postgresql", tuple(f"round{n}" for n in range(rounds)))
    database.start()
    try:
        yield (
            lambda name, number: (
                database.url(f"round{number}")
                if name == ON_POSTGRESQL
                else f"sqlite:///{folder}/{name}-{number}.db"
            )
        )
    finally:
        database.stop()


def _measure(name: str, url: str, count: int, store_url: str) -> tuple[float, float]:
    result = subprocess.run(
        [sys.executable, "-m", "bench.contenders", name, url, str(count)],
        env=os.environ | {"BENCH_STORE_URL": store_url},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if result.returncode:
        raise SystemExit(f"{name} failed:\n{result.stderr[-4000:]}")
    seconds, cpu_s = result.stdout.rpartition(RESULT)[2].split()
    return float(seconds), float(cpu_s)


def _medians(costs: dict[str, list[float]]) -> dict[str, float]:
    return {name: round(statistics.median(values), 1) for name, values in costs.items()}


def _summary(rates: dict[str, list[float]]) -> dict[str, object]:
    medians = {name: round(statistics.median(values)) for name, values in rates.items()}
    ours = medians.get("barograph")
    ratios = (
        {name: round(ours / rate, 2) for name, rate in medians.items() if name != "barograph"}
        if ours
        else {}
    )
    return {
        "bench": "bus",
        "messages_per_s": medians,
        "all_rounds": {name: [round(v) for v in values] for name, values in rates.items()},
        "barograph_divided_by": ratios,
        **surroundings(*_LIBRARIES),
    }


if __name__ == "__main__":
    sys.exit(main())
