"""NAB: how early, how often and how wrongly each detector speaks. ``--data`` is a copy of NAB.

    python -m bench.nab --data DIR [--write DIR] [--detectors NAME …]

Every detector sees every file as it would live: point by point, one series a file, nothing known
beforehand of its least or largest value. Its score is the number that it compares with its
threshold; of a combination (``engine:MODE``, the whole engine) what counts are its events, one an
episode. Printed: the optimised score (one threshold for all
files, chosen on the labels, as NAB does), the score at the detector's own threshold (as in
production), each group at the threshold that is best for all *other* groups, and false alarms a
series and day. The scorer first proves itself on the published results of two detectors, if
``results.tar.xz`` lies beside the data. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.nab_score import Curve, File, Floats, Profile, curve, read_corpus, read_profiles
from services.detector.detectors import Detector, make, registered
from services.detector.detectors.base import tick_of
from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.columns import Columns
from shared.contracts import AnomalyDetected
from shared.samples import from_rows

PUBLISHED = {
    "skyline": (35.69, 27.08, 44.48),
    "windowedGaussian": (39.65, 20.87, 47.41),
}
_SKIPPED = ("threshold",)
"""NAB's files have no static thresholds."""
_ENGINE = "engine:"
_MODES = ("surprise", "branch", "vote", "skyline")
"""Combinations, run with all that the service does; what is counted are its events."""


def prove(data: Path, files: list[File], profiles: list[Profile]) -> dict[str, list[float]]:
    """The scorer's result on published detections; AssertionError where it is not the published."""
    proven = {}
    with tarfile.open(data / "results.tar.xz") as archive:
        for name, published in PUBLISHED.items():
            scores = []
            for file in files:
                group, base = file.name.split("/")
                member = archive.extractfile(f"{name}/{group}/{name}_{base}")
                assert member is not None, file.name
                lines = member.read().decode().splitlines()[1:]
                scores.append(np.array([float(line.split(",")[2]) for line in lines]))
            found = [curve(files, scores).optimum(profile)[0] for profile in profiles]
            assert np.allclose(found, published, atol=0.1), (name, found, published)
            proven[name] = [round(value, 2) for value in found]
    return proven


def run(detector: Detector, files: list[File]) -> tuple[list[Floats], list[Floats], float]:
    """(scores, alarms as 0 and 1, points a second): all files side by side, a point at a time."""
    state = Columns(detector.columns())
    state.grow(len(files))
    scores = [np.zeros(len(file.values)) for file in files]
    alarms = [np.zeros(len(file.values)) for file in files]
    began = time.process_time()
    for at in range(max(len(file.values) for file in files)):
        here = [row for row, file in enumerate(files) if at < len(file.values)]
        values = np.array([files[row].values[at] for row in here])
        times = np.array([files[row].time_ms[at] for row in here])
        broken = np.full(len(here), at == 0)
        votes = detector.step(state, tick_of(values, times, rows=np.array(here), broken=broken))
        score = np.where(votes.judged, strength(votes.numbers, votes.anomalous), 0.0)
        fires = votes.anomalous
        if "onset" in votes.numbers:
            # It tells the beginning of an episode once.
            fires = fires & (votes.numbers["onset"] > 0)
        for place, row in enumerate(here):
            scores[row][at], alarms[row][at] = score[place], fires[place]
    points = sum(len(file.values) for file in files)
    return scores, alarms, points / (time.process_time() - began)


def strength(numbers: Mapping[str, Floats], anomalous: np.ndarray) -> Floats:
    """Return how far the detector is towards (and beyond) its own threshold, in its own measure."""
    value = numbers["value"]
    centre = [numbers[key] for key in ("mean", "median", "line") if key in numbers]
    with np.errstate(invalid="ignore", divide="ignore"):
        if "report" in numbers:
            found = numbers["report"]
        elif "left" in numbers:
            found = 1 / (1 + numbers["score"])
        elif "score" in numbers:
            found = numbers["score"]
        elif "amplitude" in numbers:
            found = np.abs(numbers["amplitude"]) / numbers["limit"]
        elif "lower" in numbers:
            lower, upper = numbers["lower"], numbers["upper"]
            found = np.maximum(value - upper, lower - value) / (upper - lower)
        elif "limit" in numbers and centre:
            found = np.abs(numbers.get("tail", value) - centre[0]) / numbers["limit"]
        else:
            found = numbers.get("differing", anomalous.astype(np.float64))
    return np.nan_to_num(found, posinf=1e6, neginf=0.0)


def run_mode(mode: str, files: list[File]) -> tuple[list[Floats], list[Floats], float]:
    """As ``run``, for the whole engine: an alarm is the one event that opens an episode."""
    chosen = {"combination": {"mode": mode}, "stale_after_s": 1e12, "silent_after_s": 1e12}
    engine = Engine(EngineSettings.model_validate(chosen))
    alarms = [np.zeros(len(file.values)) for file in files]
    rows = {f"f{row}": row for row in range(len(files))}
    began = time.process_time()
    for at in range(max(len(file.values) for file in files)):
        here = [
            (name, "nab", "", int(files[row].time_ms[at]), float(files[row].values[at]))
            for name, row in rows.items()
            if at < len(files[row].values)
        ]
        for event in engine.process(from_rows(here)):
            if isinstance(event, AnomalyDetected) and event.series.item == "nab":
                alarms[rows[event.series.host]][at] = 1
    points = sum(len(file.values) for file in files)
    return alarms, alarms, points / (time.process_time() - began)


def held_out(files: list[File], scores: list[Floats], profile: Profile) -> dict[str, float]:
    """The score of each group at the threshold that is best for all other groups."""
    found = {}
    for group in sorted({file.group for file in files}):
        inside = [at for at, file in enumerate(files) if file.group == group]
        outside = [at for at, file in enumerate(files) if file.group != group]
        own = _of(files, scores, inside)
        if own.windows:
            _, threshold = _of(files, scores, outside).optimum(profile)
            found[group] = round(own.normal(profile, float(own.raw(profile)[own.at(threshold)])), 1)
    return found


def _of(files: list[File], scores: list[Floats], places: list[int]) -> Curve:
    return curve([files[at] for at in places], [scores[at] for at in places])


def report(
    files: list[File], profiles: list[Profile], scores: list[Floats], alarms: list[Floats]
) -> dict[str, object]:
    """Everything that is said of one detector."""
    best, fixed = curve(files, scores), curve(files, alarms)
    at = fixed.at(1.0)
    days = sum((file.time_ms[-1] - file.time_ms[file.probation]) / 86_400_000 for file in files)
    return {
        "optimised": [round(best.optimum(profile)[0], 2) for profile in profiles],
        "fixed": [
            round(fixed.normal(profile, float(fixed.raw(profile)[at])), 2) for profile in profiles
        ],
        "windows_hit": int(fixed.hit[at]),
        "windows": fixed.windows,
        "false_alarms": int(fixed.alarms[at]),
        "false_alarms_per_series_day": round(float(fixed.alarms[at] / days), 4),
        "held_out": held_out(files, scores, profiles[0]),
    }


def write(folder: Path, name: str, files: list[File], scores: list[Floats]) -> None:
    """Result files as NAB's own scorer reads them."""
    for file, score in zip(files, scores, strict=True):
        group, base = file.name.split("/")
        path = folder / name / group / f"{name}_{base}"
        path.parent.mkdir(parents=True, exist_ok=True)
        top = max(1.0, float(max(one.max() for one in scores)))
        lines = ["timestamp,value,anomaly_score,label"]
        for at, value in enumerate(file.values):
            stamp = datetime.fromtimestamp(file.time_ms[at] / 1000, tz=UTC)
            label = int(file.window[at] >= 0)
            lines.append(f"{stamp:%Y-%m-%d %H:%M:%S},{value},{score[at] / top:.9f},{label}")
        path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a copy of NAB's corpus")
    parser.add_argument("--write", type=Path, help="write result files in NAB's layout here")
    parser.add_argument("--detectors", nargs="*", help="only these, or engine:MODE (default: all)")
    options = parser.parse_args()
    files, profiles = read_corpus(options.data), read_profiles(options.data)
    proven = prove(options.data, files, profiles)
    print(f"scorer: published results reproduced: {proven}")
    every = [name for name in registered() if name not in _SKIPPED]
    names = options.detectors or [*every, *(_ENGINE + mode for mode in _MODES)]
    found: dict[str, dict[str, object]] = {}
    for name in names:
        mode = name.removeprefix(_ENGINE)
        scores, alarms, rate = run(make(name), files) if mode == name else run_mode(mode, files)
        found[name] = report(files, profiles, scores, alarms)
        print(f"{name:18s} {found[name]} {rate:,.0f} points/s, 58 series a tick", flush=True)
        if options.write:
            write(options.write, name, files, scores)
    print(json.dumps({"benchmark": "nab", "scorer": proven, "detectors": found}))


if __name__ == "__main__":
    main()
