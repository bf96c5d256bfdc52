"""The replicas, cores, gigabytes and broker nodes that a number of machines needs, and its test.

``table`` (the default) sizes installations from 100 to 1,000,000 machines with the measured costs
of ``COSTS``: it chooses replicas and streams, then replays a step of samples through them with the
platform's own hash of machines and shares of streams, and adds replicas until the busiest of them
keeps up. ``measure`` runs the whole platform on this machine under a steady load and prints the
costs measured. ``check FILE`` holds the model against such a measurement: the model is told the
costs of one rate and predicts the CPU seconds of another. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.capacity_measure import measured
from bench.surroundings import surroundings
from shared.service.shares import shares
from shared.topology import partition_of

MAX_STREAMS = 256
"""The largest number of sample streams that the settings allow."""
_BUSY = 0.6
"""The part of a replica's processor that steady work may take; the rest is for catching up."""
_BUSIEST = 0.85
"""The same of the replica with the most work: machines and streams are never shared out evenly."""
_REPLICA_GIB = 16
"""The memory of a judge and of a predictor; a replica's series may take 60 % of it."""
_KEPT_DAYS = 7
"""The days for which the broker keeps samples in streams, within its disk and 20 GB a stream."""
_STREAM_BYTES = 20e9
_COPIES = 3
"""The copies that three broker nodes keep of a stream."""


@dataclass(frozen=True)
class Costs:
    """The cost of one sample, series, job and alert, as measured."""

    gateway_us: float
    judge_us: float
    predictor_us: float
    healer_us: float
    broker_us: float
    request_bytes: float
    """A sample's share of a remote-write request, compressed."""
    stream_bytes: float
    """A sample's share of what the broker stores."""
    judge_series_bytes: float
    forecast_bytes: float
    """Memory of the predictor for a series that it forecasts."""
    job_ms: float
    """The task and autospec services' processor time for a job from submission to its pod."""
    alert_ms: float
    """The healer's processor time for an alert."""


COSTS = Costs(
    gateway_us=2.8,
    judge_us=8.2,
    predictor_us=2.0,
    healer_us=1.6,
    broker_us=2.2,
    request_bytes=18.0,
    stream_bytes=163.0,
    judge_series_bytes=10_200,
    forecast_bytes=6_100,
    job_ms=10.5,
    alert_ms=0.76,
)
"""docs/scaling.md says how each was measured."""


@dataclass(frozen=True)
class Load:
    """Machines that send so many metrics every ``step_s`` seconds, of which some are forecast."""

    machines: int
    metrics: int
    step_s: float
    forecasts: int = 10

    @property
    def series(self) -> int:
        return self.machines * self.metrics

    @property
    def samples_per_s(self) -> float:
        return self.series / self.step_s


@dataclass(frozen=True)
class Sizes:
    """The load of each replica; `busiest` is that of the one with the most work of each kind."""

    streams: int
    gateways: int
    judges: int
    predictors: int
    healers: int
    broker_nodes: int
    cores: float
    memory_gib: float
    disk_gb: float
    kept_days: float
    network_mbit: float
    busiest: float
    limit: str
    """The part that would be too small first if the load grew, or already is."""


def machines_of_streams(machines: int, streams: int) -> NDArray[np.float64]:
    """Return how many machines each stream has, by the platform's own hash.

    Beyond 100,000 machines the shares of 100,000 are scaled up, with the chance spread that
    remains: it falls with the square root of the number.
    """
    tried = min(machines, 100_000)
    codes = [partition_of(f"host{number:07d}.example.org", streams) for number in range(tried)]
    counts = np.bincount(codes, minlength=streams).astype(np.float64)
    mean = tried / streams
    return (mean + (counts - mean) * math.sqrt(tried / machines)) * machines / tried


def busiest_share(of_streams: NDArray[np.float64], replicas: int) -> float:
    """The most machines that one of so many replicas works, as a part of all."""
    names = frozenset(f"replica-{number}" for number in range(replicas))
    owner = shares(len(of_streams), names)
    loads: dict[str, float] = {}
    for stream, machines in enumerate(of_streams):
        loads[owner[stream]] = loads.get(owner[stream], 0.0) + float(machines)
    return max(loads.values()) / float(of_streams.sum())


def replicas_for(
    of_streams: NDArray[np.float64], cpu: float, memory_bytes: float, each_bytes: float
) -> int:
    """The fewest replicas of which the busiest has processor and memory enough; 0: none do."""
    least = max(1, math.ceil(cpu / _BUSY), math.ceil(memory_bytes / each_bytes))
    for replicas in range(least, len(of_streams) + 1):
        share = busiest_share(of_streams, replicas)
        if share * cpu <= _BUSIEST and share * memory_bytes <= each_bytes / _BUSY * _BUSIEST:
            return replicas
    return 0


def sized(load: Load, costs: Costs) -> Sizes:
    """The smallest installation, of those tried, that keeps up with the load."""
    streams, room = 4, _REPLICA_GIB * 2**30 * _BUSY
    rate, series = load.samples_per_s / 1e6, load.series
    forecast = load.machines * load.forecasts * costs.forecast_bytes
    while True:
        of_streams = machines_of_streams(load.machines, streams)
        found = [
            replicas_for(
                of_streams, rate * costs.judge_us, series * costs.judge_series_bytes, room
            ),
            replicas_for(of_streams, rate * costs.predictor_us, forecast, room),
            replicas_for(of_streams, rate * costs.healer_us, 0.0, room),
        ]
        if streams >= MAX_STREAMS or (all(found) and streams >= 2 * max(found)):
            return _sizes(load, costs, of_streams, found)
        streams = min(streams * 4, MAX_STREAMS)


def _sizes(
    load: Load, costs: Costs, of_streams: NDArray[np.float64], found: Sequence[int]
) -> Sizes:
    rate, streams = load.samples_per_s, len(of_streams)
    judges, predictors, healers = found
    gateways = max(1, math.ceil(rate * costs.gateway_us / 1e6 / _BUSY))
    copies = 1 if load.machines < 1000 else _COPIES
    broker = rate * costs.broker_us / 1e6 * copies
    replicas = {"judge": judges, "predictor": predictors, "healer": healers}
    micros = {"judge": costs.judge_us, "predictor": costs.predictor_us, "healer": costs.healer_us}
    busy = {
        part: rate * micros[part] / 1e6 * busiest_share(of_streams, number or streams)
        for part, number in replicas.items()
    } | {"gateway": rate * costs.gateway_us / 1e6 / gateways}
    forecast = load.machines * load.forecasts * costs.forecast_bytes
    memory = load.series * costs.judge_series_bytes + forecast
    stored = rate * costs.stream_bytes
    kept = min(_KEPT_DAYS * 86_400, streams * _STREAM_BYTES / stored)
    cores = rate * (costs.gateway_us + sum(micros.values())) / 1e6 + broker
    # In: requests; then to the broker, between its nodes, and to three readers.
    network = rate * (costs.request_bytes + costs.stream_bytes * (1 + (copies - 1) + 3))
    return Sizes(
        streams,
        gateways,
        judges,
        predictors,
        healers,
        copies,
        round(cores / _BUSY, 1),
        round(memory / 2**30 / _BUSY, 1),
        round(stored * kept * copies / 1e9),
        round(kept / 86_400, 1),
        round(network * 8 / 1e6, 1),
        round(max(busy.values()), 2),
        _limit(replicas, streams, load.series * costs.judge_series_bytes),
    )


def _limit(replicas: dict[str, int], streams: int, judges_bytes: float) -> str:
    """The part that is too small, or would be first if the load grew."""
    none = [part for part, number in replicas.items() if not number]
    if none:
        return f"even {streams} replicas of {', '.join(none)} are too few"
    by_memory = math.ceil(judges_bytes / (_REPLICA_GIB * 2**30 * _BUSY))
    return "judges' memory" if replicas["judge"] <= by_memory + 1 else "judges' processors"


def checked(found: dict[str, Any]) -> dict[str, Any]:
    """The model, told the costs of the slower rate, beside what the faster one really took."""
    slow, fast = found["phases"]
    rows = {}
    for part, cost in slow["cpu_us_per_sample"].items():
        predicted = cost * fast["samples"] / 1e6
        actual = fast["cpu_us_per_sample"][part] * fast["samples"] / 1e6
        rows[part] = {"predicted_cpu_s": round(predicted, 2), "measured_cpu_s": round(actual, 2)}
    predicted = sum(row["predicted_cpu_s"] for row in rows.values())
    actual = sum(row["measured_cpu_s"] for row in rows.values())
    return {"parts": rows, "predicted_over_measured": round(predicted / actual, 2)}


def main() -> int:
    """Size, measure or check, and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="table", choices=("table", "measure", "check"))
    parser.add_argument("file", nargs="?", type=Path, help="of `check`: what `measure` printed")
    parser.add_argument("--machines", type=int, nargs="+", default=[10**n for n in range(2, 7)])
    parser.add_argument("--metrics", type=int, default=100, help="of each machine")
    parser.add_argument("--step", type=float, default=60.0, help="seconds between two samples")
    parser.add_argument("--series", type=int, default=20_000, help="of `measure`")
    parser.add_argument("--rounds", type=int, default=15, help="samples a series in each phase")
    parser.add_argument("--rates", type=float, nargs=2, default=[10_000.0, 0.0], help="0: all")
    parser.add_argument("--cost", action="append", default=[], help="another cost: NAME=NUMBER")
    options = parser.parse_args()
    if options.what == "measure":
        found: Any = measured(options.series, options.rounds, options.rates)
    elif options.what == "check":
        found = checked(json.loads(options.file.read_text().splitlines()[-1]))
    else:
        given = dict(each.split("=", 1) for each in options.cost)
        costs = replace(COSTS, **{name: float(value) for name, value in given.items()})
        loads = [Load(each, options.metrics, options.step) for each in options.machines]
        found = {"rows": [asdict(each) | asdict(sized(each, costs)) for each in loads]}
        for row in found["rows"]:
            print(" | ".join(str(value) for value in row.values()))
    print(json.dumps({"bench": "capacity"} | found | surroundings()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
