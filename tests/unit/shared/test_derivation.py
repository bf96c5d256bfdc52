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


def _disk(
    second: float, avail: float, kind: str = "ext4"
) -> list[tuple[str, str, str, int, float]]:
    labels = {"mountpoint": "/", "device": "sda", "fstype": kind}
    return [
        _raw("node_filesystem_size_bytes", second, 100.0, **labels),
        _raw("node_filesystem_free_bytes", second, 30.0, **labels),
        _raw("node_filesystem_avail_bytes", second, avail, **labels),
    ]


def test_disk_use_is_computed_as_df_does() -> None:
    points = _points(Deriver().apply(from_rows(_disk(5, 20.0))))
    # 70 used of 70 + 20.
    assert points == {("df.bytes.used.percent", '{"mount":"/"}', 5000): pytest.approx(77.777, 1e-3)}


@pytest.mark.parametrize("kind", ["squashfs", "iso9660", "fuse.snapfuse", "fuse.squashfuse_ll"])
def test_an_image_that_can_only_be_full_is_no_full_disk(kind: str) -> None:
    points = _points(Deriver().apply(from_rows(_disk(5, 0.0, kind))))
    assert not [item for item, _, _ in points if item.startswith("df.")]


def test_a_file_system_that_can_only_be_read_is_no_full_disk() -> None:
    labels = {"mountpoint": "/", "device": "sda", "fstype": "ext4"}

    def scrape(second: int, read_only: float) -> list[float]:
        rows = [
            *_disk(second, 0.0),
            _raw("node_filesystem_files", second, 10.0, **labels),
            _raw("node_filesystem_files_free", second, 0.0, **labels),
            _raw("node_filesystem_readonly", second, read_only, **labels),
        ]
        points = _points(deriver.apply(from_rows(rows)))
        return [value for (item, _, _), value in points.items() if item.startswith("df.")]

    deriver = Deriver()
    assert np.isnan(scrape(5, 1.0)).all()
    assert scrape(15, 0.0) == [100.0, 100.0]


def _share_of(*mounts: dict[str, str], free: float = 20.0) -> dict[str, float]:
    """The used share of each disk, by its labels, of file systems with these labels."""
    deriver, found = Deriver(), {}
    for turn in range(2):
        deriver = Deriver.restored(deriver.snapshot())
        rows = [
            _raw(f"node_filesystem_{what}_bytes", 10 * turn, value, **labels)
            for labels in mounts
            for what, value in (("size", 100.0), ("free", free), ("avail", free))
        ]
        found = _points(deriver.apply(from_rows(rows)))
    return {labels: value for (item, labels, _), value in found.items() if item.startswith("df.")}


def _mounted(device: str, *mounts: str, kind: str = "ext4") -> list[dict[str, str]]:
    return [{"device": device, "mountpoint": mount, "fstype": kind} for mount in mounts]


def test_all_mounts_of_a_disk_are_one_disk_whichever_of_them_there_are() -> None:
    pods = [f"/var/lib/kubelet/pods/{n}/volume-subpaths/x" for n in range(3)]
    assert _share_of(*_mounted("/dev/sda1", "/", *pods)) == {'{"mount":"/"}': 80.0}
    assert _share_of(*_mounted("/dev/sda1", *pods)) == {f'{{"mount":"{pods[0]}"}}': 80.0}
    two = _share_of(*_mounted("/dev/sda1", "/a"), *_mounted("/dev/sdb1", "/b"))
    assert len(two) == 2


@pytest.mark.parametrize(("device", "kind"), [("tmpfs", "tmpfs"), ("/dev/fuse", "fuse")])
def test_what_only_has_the_same_source_is_not_the_same_disk(device: str, kind: str) -> None:
    assert len(_share_of(*_mounted(device, "/tmp", "/dev/shm", kind=kind))) == 2


@pytest.mark.parametrize(
    ("kind", "mount"),
    [
        ("overlay", "/var/lib/docker/overlay2/1/merged"),
        ("tmpfs", "/run/user/1000"),
        ("tmpfs", "/run/credentials/systemd-journald.service"),
        ("tmpfs", "/var/lib/kubelet/pods/1/volumes/kubernetes.io~secret/token"),
    ],
)
def test_what_containers_and_services_are_given_is_no_disk(kind: str, mount: str) -> None:
    assert _share_of(*_mounted(kind, mount, kind=kind), free=0.0) == {}


def test_a_container_that_is_watched_like_a_machine_has_its_root() -> None:
    assert _share_of(*_mounted("overlay", "/", kind="overlay")) == {'{"mount":"/"}': 80.0}


def test_windows_has_drives_processors_and_memory() -> None:
    rows = [
        row
        for second in (0, 10)
        for row in (
            *[
                _raw("windows_cpu_time_total", second, second / 2, core=f"0,{n}", mode="idle")
                for n in range(2)
            ],
            *[
                _raw(f"windows_logical_disk_{what}_bytes", second, value, volume=volume)
                for volume in ("C:", "HarddiskVolume1")
                for what, value in (("size", 100.0), ("free", 5.0))
            ],
            _raw("windows_cs_physical_memory_bytes", second, 100.0),
            _raw("windows_memory_physical_total_bytes", second, 100.0),
            _raw("windows_memory_available_bytes", second, 40.0),
        )
    ]
    points = _points(Deriver().apply(from_rows(rows)))
    at = 10_000
    assert points["cpu.idle", "", at] == 50.0
    assert points["df.bytes.used.percent", '{"mount":"C:"}', at] == 95.0
    assert points["mem.memused.percent", "", at] == 60.0
    assert not [labels for item, labels, _ in points if "Harddisk" in labels and "df." in item]


@pytest.mark.parametrize(("device", "many"), [("sda", 1), ("nvme0n1", 1), ("dm-0", 0), ("md0", 0)])
def test_a_volume_on_a_disk_is_not_busy_beside_it(device: str, many: int) -> None:
    rows = [
        _raw("node_disk_io_time_seconds_total", second, second * 0.9, device=device)
        for second in (0, 10)
    ]
    points = _points(Deriver().apply(from_rows(rows)))
    assert [value for (item, _, _), value in points.items() if item.startswith("disk.")] == [
        90.0
    ] * many


@pytest.mark.parametrize(("device", "many"), [("eth0", 2), ("veth12ab", 1), ("docker0", 1)])
def test_a_virtual_interface_has_no_speed_to_be_at_the_end_of(device: str, many: int) -> None:
    rows = [
        row
        for second in (0, 10)
        for row in (
            _raw("node_network_receive_bytes_total", second, second * 1e8, device=device),
            _raw("node_network_speed_bytes", second, 1.25e6, device=device),
        )
    ]
    points = _points(Deriver().apply(from_rows(rows)))
    assert len({item for item, _, time_ms in points if item.startswith("net.")}) == many


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


def test_a_sum_too_large_for_a_number_costs_its_own_point() -> None:
    rows = [
        *[_raw("node_cpu_seconds_total", 0, 0.0, cpu=c, mode="idle") for c in "ab"],
        *[_raw("node_cpu_seconds_total", 1, 1.7e308, cpu=c, mode="idle") for c in "ab"],
        _raw("temperature", 1, 20.0),
    ]
    points = _points(Deriver().apply(from_rows(rows)))
    assert np.isnan(points.pop(("cpu.idle", "", 1_000)))
    assert points == {("temperature", "", 1_000): 20.0}


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
