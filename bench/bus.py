"""No-op messages per second, at least once: our runner beside raw pika and three libraries.

All in one run against a private RabbitMQ node; rounds are interleaved so that the machine's load
hits all alike, and the median round counts. The last line is JSON with figures and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.contenders import CONTENDERS, RESULT
from bench.surroundings import surroundings
from shared.embedded.broker import EmbeddedBroker

COUNTS = {"barograph": 40_000, "pika_ack_50": 40_000, "pika_ack_each": 15_000}
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
    with tempfile.TemporaryDirectory() as directory:
        broker = EmbeddedBroker(Path(directory, "broker"))
        broker.start()
        try:
            for number in range(options.rounds):
                for name in options.only:
                    count = int(COUNTS.get(name, _OTHERS) * options.scale)
                    store = f"sqlite:///{directory}/store-{number}.db"
                    rate = count / _measure(name, broker.url(), count, store)
                    rates[name].append(rate)
                    print(f"round {number + 1} {name:<22} {rate:>9,.0f} messages/s", flush=True)
        finally:
            broker.stop()
    print(json.dumps(_summary(rates)))
    return 0


def _measure(name: str, url: str, count: int, store_url: str) -> float:
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
    return float(result.stdout.rpartition(RESULT)[2])


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
