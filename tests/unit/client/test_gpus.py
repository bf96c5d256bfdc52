"""A job's GPUs over time: the exporter's series of its pods, and of no other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.client import handlers
from services.client.api.gpus import GpuCurves
from services.client.gpu_plot import (
    MEMORY,
    SLICE_UTILISATION,
    UTILISATION,
    Gpu,
    gpus_of,
    idle,
    plots,
)
from services.client.projects import ALL
from services.client.questions import Questions, TooManyQuestions
from services.client.usage_plot import MAX_LINES
from services.detector.gateway.names import Understood, named
from shared.contracts import (
    Curve,
    CurveAnswered,
    CurveAsk,
    JobAccepted,
    JobSubmit,
    Member,
    PodStarted,
    SeriesFound,
    SeriesRef,
    SeriesSearch,
)
from shared.contracts.alerts import Point
from shared.service import Context
from tests.unit.client.test_api import NOW, Desk

RESOURCES = {"cpu": 1, "memory": "1Gi", "gpu": 2}


def series(item: str, pod: str, gpu: str = "0", label: str = "pod") -> SeriesRef:
    return SeriesRef(host="gpu-node-1", item=item, labels={label: pod, "gpu": gpu})


class Exporter:
    """Detectors that have simulated values of an exporter, and count what they are asked."""

    def __init__(self, *known: SeriesRef) -> None:
        self.known, self.asked = known, 0
        self.questions = Questions(self, within_s=0.5)

    def publish(self, messages: Sequence[Any], *, timeout_s: float) -> None:
        del timeout_s
        context = Context(NOW, "m", 1, None)
        for message in messages:
            self.asked += 1
            if isinstance(message, SeriesSearch):
                text = message.search
                found = tuple(s for s in self.known if text in s.text())
                told: Any = SeriesFound(
                    request_id=message.request_id, partition=0, partitions=1, series=found
                )
            else:
                assert isinstance(message, CurveAsk)
                points = [Point(time_ms=60_000 * n, value=10.0 * n) for n in range(1, 9)]
                curve = Curve(points=(*points, Point(time_ms=540_000, value=float("nan"))))
                told = CurveAnswered(request_id=message.request_id, source="detector", curve=curve)
            self.questions.take(told, context)


def desk_with(exporter: Exporter, pods: Sequence[str], gpu: int = 2) -> Desk:
    desk = Desk()
    client = desk.app.state.client
    object.__setattr__(client, "gpus", GpuCurves(exporter.questions))
    body = {"job_id": "a", "name": "x", "main": "a.py", "package": "barograph:packages:x.tar.gz"}
    body |= {"type": "distribute", "workers": len(pods), "ps": 1, "style": "ps"}
    submit = JobSubmit.model_validate(body | {"resources": RESOURCES | {"gpu": gpu}})
    told = {"job_id": "a", "name": "x", "at": datetime.now(UTC), "sequence": 1}
    desk.hear(handlers.job_event, JobAccepted(**told, state="accepted", submit=submit))
    for index, pod in enumerate(pods):
        member = Member(role="worker", index=index, incarnation=1)
        where = {"pod": pod, "node": "gpu-node-1", "epoch": 1, "at": NOW}
        desk.hear(handlers.pod_started, PodStarted(job_id="a", member=member, **where))
    return desk


def test_a_jobs_page_draws_each_gpu_of_its_pods_and_none_of_others() -> None:
    exporter = Exporter(
        series(UTILISATION, "a-worker-0-x"),
        series(UTILISATION, "a-worker-0-x", "1"),
        series(MEMORY, "a-worker-0-x"),
        series(MEMORY, "a-worker-1-y", label="exported_pod"),
        series(UTILISATION, "a-worker-0-xyz"),
        series(UTILISATION, "b-worker-0-x"),
        series("DCGM_FI_DEV_POWER_USAGE", "a-worker-0-x"),
    )
    desk = desk_with(exporter, ["a-worker-0-x", "a-worker-1-y"])
    page = desk.call("GET", "/jobs/a").text
    assert page.count("<svg") == 3, "the timeline, utilisation and memory"
    assert "worker-0, GPU 0 at most 80 %, last 80 %; worker-0, GPU 1" in page
    assert "worker-1, GPU 0 at most 80 MiB" in page
    assert "xyz" not in page
    asked = exporter.asked
    assert asked == 1 + 4
    desk.call("GET", "/jobs/a")
    assert exporter.asked == asked, "a page that is open asks a few times a minute"
    desk.store.close()


def of_slice(item: str, slice_id: str) -> SeriesRef:
    labels = {"pod": "a-worker-0-x", "gpu": "0", "GPU_I_ID": slice_id, "GPU_I_PROFILE": "1g.10gb"}
    return SeriesRef(host="gpu-node-1", item=item, labels=labels)


def test_slices_of_one_gpu_are_told_apart_and_measured_by_what_the_exporter_has_for_them() -> None:
    desk = desk_with(Exporter(), ["a-worker-0-x"])
    described = desk.app.state.client.model.description("a", NOW, ALL)
    known = [
        *(of_slice(item, n) for item in (UTILISATION, SLICE_UTILISATION) for n in ("7", "8")),
        of_slice(MEMORY, "7"),
        series(UTILISATION, "a-worker-0-x", "1"),
        series(SLICE_UTILISATION, "a-worker-0-x", "1"),
    ]
    found = gpus_of(described.members, known)
    assert [(gpu.name, gpu.series.item) for gpu in found] == [
        ("worker-0, GPU 0, slice 7 (1g.10gb)", SLICE_UTILISATION),
        ("worker-0, GPU 0, slice 8 (1g.10gb)", SLICE_UTILISATION),
        ("worker-0, GPU 1", UTILISATION),
        ("worker-0, GPU 0, slice 7 (1g.10gb)", MEMORY),
    ]
    of_slices = (Point(time_ms=60_000 * n, value=0.5) for n in range(1, 4))
    (drawn,) = plots([(found[0], tuple(of_slices))])
    assert "slice 7 (1g.10gb) at most 50 %" in drawn.sentence
    desk.store.close()


def measured(gpu: str, values: Sequence[float]) -> tuple[Gpu, tuple[Point, ...]]:
    points = tuple(Point(time_ms=60_000 * n, value=value) for n, value in enumerate(values))
    return Gpu("worker-0", series(UTILISATION, "a-worker-0-x", gpu)), points


def test_gpus_that_are_hardly_used_are_named_with_how_long_at_least() -> None:
    busy, short = measured("0", [4.0] * 30 + [5.0]), measured("1", [0.0] * 10)
    assert idle([]) == idle([busy, short]) == ""
    long, longer = measured("2", [0.0] * 12), measured("3", [4.9] * 60)
    assert idle([busy, short, long, longer]) == (
        "2 of 4 GPUs shown were below 5 % for at least 11 minutes:"
        " worker-0, GPU 2; worker-0, GPU 3."
    )


@pytest.mark.parametrize(("gpu", "pods"), [(0, ["a-worker-0-x"]), (2, [])])
def test_nobody_is_asked_where_there_can_be_no_gpu(gpu: int, pods: list[str]) -> None:
    exporter = Exporter()
    desk = desk_with(exporter, pods or [""], gpu)
    assert "GPUs over time" not in desk.call("GET", "/jobs/a").text
    assert exporter.asked == 0
    desk.store.close()


def test_so_many_gpus_are_drawn_as_can_be_told_apart() -> None:
    known = [series(UTILISATION, "a-worker-0-x", str(n)) for n in range(40)]
    exporter = Exporter(*known)
    desk = desk_with(exporter, ["a-worker-0-x"])
    assert desk.call("GET", "/jobs/a").text.count("<polyline") == MAX_LINES
    desk.store.close()


def test_a_page_without_answers_is_a_page_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter()

    def refused(*_: object) -> None:
        raise TooManyQuestions("16 pages wait for answers already")

    monkeypatch.setattr(exporter.questions, "search", refused)
    desk = desk_with(exporter, ["a-worker-0-x"])
    assert desk.call("GET", "/jobs/a").status_code == 200
    desk.store.close()


EXPOSITION = """\
# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{{{of_exporter}}} 87
# HELP DCGM_FI_DEV_MEM_COPY_UTIL Memory utilization (in %).
# TYPE DCGM_FI_DEV_MEM_COPY_UTIL gauge
DCGM_FI_DEV_MEM_COPY_UTIL{{{of_exporter}}} 41
# HELP DCGM_FI_DEV_FB_USED Framebuffer memory used (in MiB).
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{{{of_exporter}}} 14512
# HELP DCGM_FI_DEV_GPU_TEMP GPU temperature (in C).
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{{{of_exporter}}} 63
"""
"""In the format of NVIDIA's dcgm-exporter, with the labels that it has on Kubernetes."""
OF_EXPORTER = (
    'gpu="3",UUID="GPU-00000000-0000-0000-0000-000000000003",pci_bus_id="00000000:00:1E.0",'
    'device="nvidia3",modelName="Tesla T4",Hostname="gpu-node-1",DCGM_FI_DRIVER_VERSION="535.0",'
    'container="program",namespace="jobs",pod="a-worker-0-x"'
)
SCRAPED = {"job": "dcgm-exporter", "instance": "10.0.0.5:9400", "node": "gpu-node-1"}


@pytest.mark.parametrize("honoured", [True, False])
def test_what_the_exporter_writes_is_found_whichever_label_prometheus_keeps(honoured: bool) -> None:
    own = {"namespace": "monitoring", "pod": "dcgm-exporter-2hv7x", "container": "exporter"}
    known = []
    for family in text_string_to_metric_families(EXPOSITION.format(of_exporter=OF_EXPORTER)):
        for each in family.samples:
            labels = dict(each.labels)
            if not honoured:  # Prometheus renames what its own labels would replace
                labels = {f"exported_{n}" if n in own else n: v for n, v in labels.items()} | own
            found = named(labels | SCRAPED | {"__name__": each.name}, "", "")
            assert isinstance(found, Understood)
            kept = json.loads(found.labels)
            known.append(SeriesRef(host=found.host, item=found.item, labels=kept))
    exporter = Exporter(*known)
    desk = desk_with(exporter, ["a-worker-0-x"])
    view = desk.model.description("a", NOW, ALL)
    assert view is not None
    gpus = gpus_of(view.members, known)
    assert [(gpu.name, gpu.series.item) for gpu in gpus] == [
        ("worker-0, GPU 3", UTILISATION),
        ("worker-0, GPU 3", MEMORY),
    ]
    assert "worker-0, GPU 3 at most 80 %" in desk.call("GET", "/jobs/a").text
    desk.store.close()
