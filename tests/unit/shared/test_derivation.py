"""From raw series to item points: rates, node_exporter's series, and scrapes in pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.derivation import Deriver
from shared.samples import SampleBatch, from_rows, labels_text

Point = tuple[str, int, float]


def _points(batch: SampleBatch) -> dict[tuple[str, str, int], float]:
    return {
        (batch.items[i], batch.labels[t], int(time_ms)): float(value)
        for i, t, time_ms, value in zip(
            batch.item_code, batch.label_code, batch.time_ms, batch.value, strict=True
        )
    }


def _raw(item: str, time_s: float, value: float, **labels: str) -> tuple[str, str, str, int, float]:
    return ("h1", item, labels_text(labels), int(time_s * 1000), value)


def test_items_and_gauges_pass_unchanged() -> None:
    batch = from_rows([_raw("cpu.idle", 1, 50.0), _raw("queue", 1, 3.0)])
    assert Deriver().apply(batch) is batch


def test_a_counter_becomes_its_rate_and_has_no_value_at_a_reset() -> None:
    deriver = Deriver()
    seen: dict[tuple[str, str, int], float] = {}
    for second, total in ((0, 10), (10, 30), (20, 5), (30, 25)):
        seen |= _points(deriver.apply(from_rows([_raw("x_total", second, total)])))
    assert [time_ms for _, _, time_ms in seen] == [10_000, 20_000, 30_000]
    assert seen["x_total", "", 10_000] == 2.0
    assert math.isnan(seen["x_total", "", 20_000])
    assert seen["x_total", "", 30_000] == 2.0


def test_many_samples_of_a_counter_in_one_batch_give_the_same_rates() -> None:
    rows = [_raw("x_total", s, t) for s, t in ((0, 10), (10, 30), (20, 5), (30, 25), (30, 25))]
    together = _points(Deriver().apply(from_rows(rows[::-1])))
    assert together["x_total", "", 10_000] == together["x_total", "", 30_000] == 2.0
    assert len(together) == 3


def _disk(second: float, avail: float) -> list[tuple[str, str, str, int, float]]:
    labels = {"mountpoint": "/", "device": "sda", "fstype": "ext4"}
    return [
        _raw("node_filesystem_size_bytes", second, 100.0, **labels),
        _raw("node_filesystem_free_bytes", second, 30.0, **labels),
        _raw("node_filesystem_avail_bytes", second, avail, **labels),
    ]


def test_disk_use_is_computed_as_df_does() -> None:
    points = _points(Deriver().apply(from_rows(_disk(5, 20.0))))
    # 70 used of 70 + 20.
    assert points == {("df.bytes.used.percent", '{"mount":"/"}', 5000): pytest.approx(77.777, 1e-3)}


def test_a_scrape_in_pieces_gives_its_point_when_the_last_piece_has_come() -> None:
    deriver = Deriver()
    first, second = _disk(5, 20.0), _disk(15, 70.0)
    assert len(deriver.apply(from_rows(first))) == 1
    assert len(deriver.apply(from_rows(second[:1]))) == 0
    deriver = Deriver.restored(deriver.snapshot())
    assert len(deriver.apply(from_rows(second[1:2]))) == 0
    assert list(_points(deriver.apply(from_rows(second[2:]))).values()) == [50.0]


def test_a_piece_that_never_comes_does_not_hold_up_later_scrapes() -> None:
    deriver = Deriver()
    cores = [_raw("node_cpu_seconds_total", 0, 0.0, cpu=str(c), mode="idle") for c in range(2)]
    deriver.apply(from_rows(cores))
    one = _raw("node_cpu_seconds_total", 10, 5.0, cpu="0", mode="idle")
    assert _points(deriver.apply(from_rows([one]))) == {}
    later = [_raw("node_cpu_seconds_total", 20, 12.0, cpu=str(c), mode="idle") for c in range(2)]
    points = _points(deriver.apply(from_rows(later)))
    assert points["cpu.idle", "", 10_000] == 50.0
    # Core 0: (12-5)/10; core 1: 12/20, the mean over two intervals.
    assert points["cpu.idle", "", 20_000] == pytest.approx(100 * (0.7 + 0.6) / 2)


def test_load_is_per_core_and_memory_and_network_are_shares() -> None:
    rows = [
        *[_raw("node_cpu_seconds_total", 0, 0.0, cpu=str(c), mode="idle") for c in range(4)],
        _raw("node_load5", 0, 6.0),
        _raw("node_memory_MemTotal_bytes", 0, 1000.0),
        _raw("node_memory_MemAvailable_bytes", 0, 250.0),
        _raw("node_network_receive_bytes_total", 0, 0.0, device="eth0"),
        _raw("node_network_speed_bytes", 0, 1000.0, device="eth0"),
        _raw("node_network_receive_bytes_total", 10, 5000.0, device="eth0"),
        _raw("node_network_speed_bytes", 10, 1000.0, device="eth0"),
    ]
    points = _points(Deriver().apply(from_rows(rows)))
    assert points["load.5min", "", 0] == 1.5
    assert points["mem.memused.percent", "", 0] == 75.0
    assert points["net.if.in.bytes", '{"interface":"eth0"}', 10_000] == 500.0
    assert points["net.if.in.usage", '{"interface":"eth0"}', 10_000] == 50.0


def test_batches_of_any_cut_give_the_same_points() -> None:
    rng = np.random.default_rng(3)
    rows = [
        row
        for s in range(0, 200, 10)
        for row in [*_disk(s, 20.0 + s / 10), _raw("x_total", s, s * 3.0, a="b")]
    ]
    whole = _points(Deriver().apply(from_rows(rows)))
    deriver, cut = Deriver(), {}
    start = 0
    while start < len(rows):
        size = int(rng.integers(1, 9))
        cut |= _points(deriver.apply(from_rows(rows[start : start + size])))
        start += size
    assert cut == whole
    assert len(whole) == 39


@pytest.mark.parametrize(
    ("job", "of_machines"),
    [
        ("node", True),
        ("node-exporter", True),
        ("monitoring/node-exporter", True),
        ("integrations/node_exporter", True),
        ("integrations/unix", True),
        ("windows-exporter", True),
        ("prometheus-node-exporter-prod", True),
        ("nodejs", False),
        ("node-app", False),
        ("api", False),
        ("", False),
    ],
)
def test_the_machine_is_alive_as_its_own_exporter_is(job: str, of_machines: bool) -> None:
    points = _points(Deriver().apply(from_rows([_raw("up", 1, 0.0, job=job)])))
    assert (("host.alive", "", 1000) in points) is of_machines
