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
ITEMS = {UTILISATION: "GPU utilisation", MEMORY: "GPU memory"}
"""The exporter's metrics that are drawn, each with its title."""
_POD = ("exported_pod", "pod")
"""The label with the pod that has the GPU: Prometheus renames it where it adds one of its own."""
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Gpu:
    """A GPU of a member, with one of its series."""

    member: str
    number: str
    series: SeriesRef

    @property
    def name(self) -> str:
        """E.g. ``worker-0, GPU 3``."""
        return f"{self.member}, GPU {self.number}" if self.number else self.member


def gpus_of(members: Iterable[MemberShown], series: Iterable[SeriesRef]) -> list[Gpu]:
    """The series of the pods in which the members run, the first of them by name."""
    of_pod = {member.pod: member.name for member in members if member.pod}
    found = []
    for each in series:
        pod = next((each.labels[name] for name in _POD if name in each.labels), "")
        if each.item in ITEMS and pod in of_pod:
            found.append(Gpu(of_pod[pod], each.labels.get("gpu", ""), each))
    found.sort(key=lambda gpu: (gpu.series.item, gpu.name))
    return [g for item in ITEMS for g in [g for g in found if g.series.item == item][:MAX_LINES]]


def plots(measured: Sequence[tuple[Gpu, Sequence[Point]]]) -> list[UsagePlot]:
    """A picture for each item of which there are two points to draw a line between."""
    drawn = []
    for item, title in ITEMS.items():
        lines = {
            gpu.name: [(p.time_ms, _in_unit(item, p.value)) for p in points if _finite(p)]
            for gpu, points in measured
            if gpu.series.item == item
        }
        if any(len(line) > 1 for line in lines.values()):
            drawn.append(_plot(title, item, {name: line for name, line in lines.items() if line}))
    return drawn


def _plot(title: str, item: str, lines: Mapping[str, Run]) -> UsagePlot:
    unit = "percent" if item == UTILISATION else "bytes"
    highest = max(value for line in lines.values() for _, value in line)
    said = "; ".join(
        f"{name} at most {quantity(max(v for _, v in line), unit)}, last"
        f" {quantity(line[-1][1], unit)}"
        for name, line in lines.items()
    )
    return picture(
        title,
        [(name, [line]) for name, line in lines.items()],
        100.0 if item == UTILISATION else highest * HEADROOM or 1.0,
        lambda value: quantity(value, unit),
        f"{title}: {said}.",
    )


def _in_unit(item: str, value: float) -> float:
    """The exporter gives memory in mebibytes."""
    return value * _MEBIBYTE if item == MEMORY else value


def _finite(point: Point) -> bool:
    return math.isfinite(point.value)
