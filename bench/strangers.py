"""Series that no detector here was made on: how well are they judged, and are promises kept?

    python -m bench.strangers --data DIR [--detectors NAME …] [--seed N] [--parts PART …]

``labelled``: ``DIR/GROUP/*.csv`` with columns time, value, label; VUS-PR (``bench.vus``) over the
first points of each series, streaming, 0 where nothing is judged; at the production threshold the
windows hit, false alarms a series and week, and the delay. Reported for every group by itself, too.
``calibration``: alarms a series and week on series without faults, where the budget says 5, 0.5 and
0.05. ``power``: of 50 faults a kind of fault and series, how many are found within a day, beside an
oracle of the same false-alarm rate that knows the series' truth. Settings are chosen with other
seeds than the default one. Peers come with ``make bench-peers``. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import oracle, scorers
from bench.scorers import Scored, Scorer, Series
from bench.scorers_of_peers import PEERS
from bench.surroundings import surroundings
from bench.synthetic import DAY, FAULTS, KINDS, START_MS, STEP_MS, faulty, made
from bench.vus import period, runs, vus_pr

SEED = 577_215_664
"""The seed of the series, by which nothing was ever chosen."""
_BUDGETS = (5.0, 0.5, 0.05)
_DAYS, _HISTORY_DAYS = 30, 14
_WEEK_MS = 604_800_000
_CYCLES = ("daily", "daily and weekly", "square wave", "counts")
"""Only what has a daily course can lose it."""


@dataclass(frozen=True)
class Labelled:
    """A labelled series and the folder it is in."""

    group: str
    name: str
    series: Series
    labels: NDArray[np.bool_]


def read(folder: Path, most: int) -> list[Labelled]:
    """The first ``most`` rows of every file; a row without a value has none to judge."""
    found = []
    for path in sorted(folder.glob("*/*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.reader(file))[1 : most + 1]
        stamps = [row[0].rstrip("Z").replace("T", " ") for row in rows]
        values = [float(row[1]) if row[1] else np.nan for row in rows]
        labels = [float(row[2] or 0) > 0 for row in rows]
        times = np.array(stamps, dtype="datetime64[ms]").astype(np.int64)
        series = Series(times, np.array(values))
        found.append(Labelled(path.parent.name, path.stem, series, np.array(labels)))
    return found


def volume(one: Labelled, scored: Scored) -> float | None:
    """VUS-PR over the points that have a value; None where nothing is labelled."""
    known = ~np.isnan(one.series.values)
    labels = one.labels[known]
    if not labels.any():
        return None
    return vus_pr(labels, scored.scores[known], period(one.series.values[known]))


def production(files: list[Labelled], scored: list[Scored]) -> dict[str, float]:
    """The figures at the production threshold: windows hit, false alarms, delay."""
    hit, windows, false, weeks = 0, 0, 0, 0.0
    delays: list[int] = []
    for one, found in zip(files, scored, strict=True):
        spans = runs(one.labels)
        windows += len(spans)
        for first, last in spans:
            inside = found.opened[(found.opened >= first) & (found.opened <= last)]
            if len(inside):
                hit += 1
                delays.append(int(inside[0]) - first)
        false += int((~one.labels[found.opened]).sum())
        weeks += float(one.series.time_ms[-1] - one.series.time_ms[0]) / _WEEK_MS
    return {
        "windows": windows,
        "windows_hit": hit,
        "hit_share": round(hit / max(windows, 1), 3),
        "false_a_series_week": round(false / weeks, 3),
        "median_delay_points": statistics.median(delays) if delays else -1,
    }


def labelled(files: list[Labelled], scorer: Scorer) -> dict[str, object]:
    """Everything that is said of a detector on labelled series."""
    scored = scorer([one.series for one in files], 0.5)
    volumes = [volume(one, found) for one, found in zip(files, scored, strict=True)]
    groups: dict[str, list[float]] = {}
    for one, area in zip(files, volumes, strict=True):
        if area is not None:
            groups.setdefault(one.group, []).append(area)
    every = [area for areas in groups.values() for area in areas]
    means = {group: round(statistics.mean(areas), 3) for group, areas in groups.items()}
    return {
        "vus_pr": round(statistics.mean(every), 3),
        "series": len(every),
        "groups": means,
        "worst_group": min(means.values()),
        **production(files, scored),
    }


def _series(values: np.ndarray) -> Series:
    return Series(START_MS + STEP_MS * np.arange(len(values)), values)


def calibration(scorer: Scorer, seed: int, number: int) -> dict[str, dict[str, float]]:
    """Alarms a series and week, by kind and budget."""
    names = [kind for kind in KINDS for _ in range(number)]
    series = [
        _series(made(kind, seed, at % number, _DAYS * DAY).values) for at, kind in enumerate(names)
    ]
    found: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for budget in _BUDGETS:
        opened = [len(one.opened) for one in scorer(series, budget)]
        for kind in KINDS:
            total = sum(n for n, name in zip(opened, names, strict=True) if name == kind)
            found[kind][f"{budget:g}"] = round(total / number / (_DAYS / 7), 3)
    return found


def cases() -> Iterable[tuple[str, str]]:
    """Every kind of series with every fault that it can have."""
    for kind in KINDS:
        for fault in FAULTS:
            if not (kind not in _CYCLES and fault in ("pattern missing", "frequency")):
                yield kind, fault


def power(scorer: Scorer, seed: int, number: int) -> dict[str, dict[str, float]]:
    """Share of the faults of each case that is found within a day."""
    at = _HISTORY_DAYS * DAY + DAY // 2
    found: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        faults = [fault for of, fault in cases() if of == kind]
        series = [
            _series(faulty(kind, fault, seed, 1000 + place, at + DAY, at)[0])
            for fault in faults
            for place in range(number)
        ]
        seen = [bool((one.opened >= at).any()) for one in scorer(series, 0.5)]
        for place, fault in enumerate(faults):
            part = seen[place * number : (place + 1) * number]
            found[kind][fault] = round(sum(part) / number, 2)
    return found


def oracle_power(seed: int, number: int) -> dict[str, dict[str, float]]:
    """The same of the oracle."""
    at = _HISTORY_DAYS * DAY + DAY // 2
    found: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        usual = [made(kind, seed, 2000 + place, _DAYS * DAY) for place in range(20)]
        for fault in (fault for of, fault in cases() if of == kind):
            limit = oracle.threshold(fault, usual, 0.5)
            seen = 0
            for place in range(number):
                values, one = faulty(kind, fault, seed, 1000 + place, at + DAY, at)
                fires = oracle.statistic(fault, values, one) > limit
                seen += bool((scorers.opened_at(fires) >= at).any())
            found[kind][fault] = round(seen / number, 2)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of groups of labelled series")
    parser.add_argument("--points", type=int, default=1000, help="of a labelled series, at most")
    parser.add_argument("--detectors", nargs="*", help="only these")
    parser.add_argument("--seed", type=int, default=SEED, help="of series made to order")
    parser.add_argument("--series", type=int, default=20, help="a kind, for calibration")
    parser.add_argument("--faults", type=int, default=50, help="a case, for power")
    parser.add_argument(
        "--parts", nargs="*", default=["labelled", "calibration", "power"], help="only these"
    )
    options = parser.parse_args()
    files = read(options.data, options.points) if options.data else []
    found: dict[str, dict[str, object]] = {}
    for name, scorer in {**scorers.OURS, **PEERS}.items():
        if options.detectors is not None and name not in options.detectors:
            continue
        ours = name in scorers.OURS and name != "random"
        try:
            found[name] = _measured(files, scorer, options, synthetic=ours)
            _say(name, found[name])
        except ImportError as error:
            print(f"{name}: not measured: {error}; `make bench-peers` brings it", flush=True)
    if "power" in options.parts:
        found["oracle"] = {"power": oracle_power(options.seed, options.faults)}
        _say("oracle", found["oracle"])
    around = surroundings("numpy", "numba", "river", "rrcf", "pyod", "pysad", "timemachines")
    line = {"bench": "strangers", "seed": options.seed, "detectors": found, **around}
    print(json.dumps(line))


def _measured(
    files: list[Labelled], scorer: Scorer, options: argparse.Namespace, *, synthetic: bool
) -> dict[str, object]:
    found: dict[str, object] = {}
    if files and "labelled" in options.parts:
        found["labelled"] = labelled(files, scorer)
    if synthetic and "calibration" in options.parts:
        found["calibration"] = calibration(scorer, options.seed, options.series)
    if synthetic and "power" in options.parts:
        found["power"] = power(scorer, options.seed, options.faults)
    return found


def _say(name: str, found: dict[str, object]) -> None:
    for part, figures in found.items():
        print(f"{name}, {part}:")
        for key, value in figures.items() if isinstance(figures, dict) else ():
            print(f"    {key:24s} {value}", flush=True)


if __name__ == "__main__":
    main()
