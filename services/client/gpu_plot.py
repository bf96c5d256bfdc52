"""A job's GPUs over time, from the series of NVIDIA's DCGM exporter; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.client.description import MemberShown
from services.client.usage_plot import HEADROOM, MAX_LINES, Run, UsagePlot, picture
from shared.contracts import SeriesRef
from shared.contracts.alerts import Point
from shared.quantity import quantity

UTILISATION, MEMORY = "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"
SLICE_UTILISATION = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
"""The ratio of busy time; of MIG slices there is no other measure of utilisation."""
_USED = "GPU utilisation"
ITEMS = {UTILISATION: _USED, SLICE_UTILISATION: _USED, MEMORY: "GPU memory"}
"""The exporter's metrics that are drawn, each with its picture's title."""
_TITLES = tuple(dict.fromkeys(ITEMS.values()))
_SLICE, _PROFILE = "GPU_I_ID", "GPU_I_PROFILE"
_POD = ("exported_pod", "pod")
"""The label with the pod that has the GPU: Prometheus renames it where it adds one of its own."""
_FACTORS = {MEMORY: 2**20, SLICE_UTILISATION: 100.0}
"""The exporter gives memory in mebibytes, and the use of slices as a ratio."""
_IDLE_PERCENT, _IDLE_MS = 5.0, 600_000


@dataclass(frozen=True)
class Gpu:
    """A GPU of a member, or a slice of one, with one of its series."""

    member: str
    series: SeriesRef

    @property
    def name(self) -> str:
        """The name, e.g. ``worker-0, GPU 3``, or ``worker-0, GPU 3, slice 7 (1g.10gb)``."""
        labels = self.series.labels
        found = f"{self.member}, GPU {labels['gpu']}" if labels.get("gpu") else self.member
        if _SLICE not in labels:
            return found
        profile = f" ({labels[_PROFILE]})" if labels.get(_PROFILE) else ""
        return f"{found}, slice {labels[_SLICE]}{profile}"

    @property
    def measures(self) -> bool:
        """True if the series means something: whole GPUs and slices have different measures."""
        of_slice = _SLICE in self.series.labels
        return self.series.item != (UTILISATION if of_slice else SLICE_UTILISATION)


def gpus_of(members: Iterable[MemberShown], series: Iterable[SeriesRef]) -> list[Gpu]:
    """The series of the pods in which the members run, the first of them by name."""
    of_pod = {member.pod: member.name for member in members if member.pod}
    found = []
    for each in series:
        pod = next((each.labels[name] for name in _POD if name in each.labels), "")
        if each.item in ITEMS and pod in of_pod and (gpu := Gpu(of_pod[pod], each)).measures:
            found.append(gpu)
    found.sort(key=lambda gpu: gpu.name)
    return [g for title in _TITLES for g in [g for g in found if _title(g) == title][:MAX_LINES]]


def plots(measured: Sequence[tuple[Gpu, Sequence[Point]]]) -> list[UsagePlot]:
    """A picture for each title of which there are two points to draw a line between."""
    drawn = []
    for title in _TITLES:
        lines = _lines(measured, title)
        if any(len(line) > 1 for line in lines.values()):
            drawn.append(_plot(title, lines))
    return drawn


def idle(measured: Sequence[tuple[Gpu, Sequence[Point]]]) -> str:
    """The GPUs that were hardly used for as long as their points reach back; '' if none."""
    lines = _lines(measured, _USED)
    unused = {
        name: line[-1][0] - line[0][0]
        for name, line in lines.items()
        if max(value for _, value in line) < _IDLE_PERCENT and line[-1][0] - line[0][0] >= _IDLE_MS
    }
    if not unused:
        return ""
    minutes = min(unused.values()) // 60_000
    return (
        f"{len(unused)} of {len(lines)} GPUs shown were below {_IDLE_PERCENT:g} % for at least"
        f" {minutes} minutes: {'; '.join(unused)}."
    )


def _lines(measured: Sequence[tuple[Gpu, Sequence[Point]]], title: str) -> dict[str, Run]:
    """The points of each GPU for a picture; only of GPUs that have some."""
    found = {
        gpu.name: [
            (point.time_ms, point.value * _FACTORS.get(gpu.series.item, 1.0))
            for point in points
            if math.isfinite(point.value)
        ]
        for gpu, points in measured
        if _title(gpu) == title
    }
    return {name: line for name, line in found.items() if line}


def _title(gpu: Gpu) -> str:
    return ITEMS[gpu.series.item]


def _plot(title: str, lines: Mapping[str, Run]) -> UsagePlot:
    unit = "percent" if title == _USED else "bytes"
    highest = max(value for line in lines.values() for _, value in line)
    said = "; ".join(
        f"{name} at most {quantity(max(v for _, v in line), unit)}, last"
        f" {quantity(line[-1][1], unit)}"
        for name, line in lines.items()
    )
    return picture(
        title,
        [(name, [line]) for name, line in lines.items()],
        100.0 if title == _USED else highest * HEADROOM or 1.0,
        lambda value: quantity(value, unit),
        f"{title}: {said}.",
    )
