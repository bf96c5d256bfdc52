"""NAB: how early, how often and how wrongly each detector speaks. ``--data`` is a copy of NAB.

    python -m bench.nab --data DIR [--write DIR] [--detectors NAME …]

Every detector sees every file as it would live: point by point, one series a file, nothing known
beforehand of its least or largest value. Its score is the number that it compares with its
threshold, or 0 and 1 where it only votes. Printed: the optimised score (one threshold for all
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
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.nab_score import Curve, File, Floats, Profile, curve, read_corpus, read_profiles
from services.detector.detectors import Detector, make, registered
from services.detector.detectors.base import tick_of
from shared.columns import Columns

PUBLISHED = {
    "skyline": (35.69, 27.08, 44.48),
    "windowedGaussian": (39.65, 20.87, 47.41),
}
_SKIPPED = ("threshold",)
"""NAB's files have no static thresholds."""


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
        score = strength(votes.numbers, votes.anomalous)
        fires = votes.anomalous
        if "report" in votes.numbers:
            fires = fires & (votes.numbers["report"] > 0)
        for place, row in enumerate(here):
            scores[row][at], alarms[row][at] = score[place], fires[place]
    points = sum(len(file.values) for file in files)
    return scores, alarms, points / (time.process_time() - began)


def strength(numbers: dict[str, Floats], anomalous: np.ndarray) -> Floats:
    """A score that grows with how sure the detector is; its own threshold lies between."""
    if "report" in numbers:
        return np.nan_to_num(numbers["report"])
    return anomalous.astype(np.float64)


def held_out(files: list[File], scores: list[Floats], profile: Profile) -> dict[str, float]:
    """Of each group: its score at the threshold that is best for all other groups."""
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
    parser.add_argument("--detectors", nargs="*", help="only these (default: all)")
    options = parser.parse_args()
    files, profiles = read_corpus(options.data), read_profiles(options.data)
    proven = prove(options.data, files, profiles)
    print(f"scorer: published results reproduced: {proven}")
    names = options.detectors or [name for name in registered() if name not in _SKIPPED]
    found: dict[str, dict[str, object]] = {}
    for name in names:
        detector = make(name, {})
        scores, alarms, rate = run(detector, files)
        found[name] = report(files, profiles, scores, alarms)
        print(f"{name:18s} {found[name]} {rate:,.0f} points/s, 58 series a tick", flush=True)
        if options.write:
            write(options.write, name, files, scores)
    print(json.dumps({"benchmark": "nab", "scorer": proven, "detectors": found}))


if __name__ == "__main__":
    main()
