"""The health of machines: what it costs to be in trouble, and what follows from a day's use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.healer.health import records as kept
from services.healer.health.records import HEALTH
from services.healer.health.score import WEIGHTS, Alarms, health, of_group, terms
from services.healer.health.worker import HealthWorker
from services.healer.model.policy import Group
from shared.columns import Array
from shared.contracts import HealthReported
from shared.health_map import Hour
from shared.samples import encode, from_rows, labels_text
from shared.snapshots import Stored, pack
from shared.store import Store
from shared.stream_clock import BACK_AFTER
from tests.unit.healer.test_acting import Desk
from tests.unit.healer.test_incidents import NOW, NOW_MS, anomaly, prediction

GOOD = {("cpu.idle", ""): 80.0, ("mem.memused.percent", ""): 40.0, ("host.alive", ""): 1.0}


def day(cpu: float, memory: float, score: float = 100.0, slope: float = 0.0) -> list[Hour]:
    return [Hour(n, score + slope * n / 24, cpu, memory) for n in range(24)]


def test_a_machine_without_trouble_is_healthy_and_loses_nothing() -> None:
    found = health(GOOD, Alarms(), [])
    assert (found["score"], found["verdict"], found["first"]) == (100.0, "healthy", "")
    assert health({}, Alarms(), [])["verdict"] == "unknown"


def test_the_worst_series_of_an_item_counts_and_the_costliest_is_to_be_fixed_first() -> None:
    disks = {
        ("df.bytes.used.percent", "mount=/"): 50.0,
        ("df.bytes.used.percent", "mount=/d"): 95.0,
    }
    found = health(GOOD | disks, Alarms(), [])
    assert found["score"] == 80.0
    assert found["first"] == "df.bytes.used.percent mount=/d is 95 %: 20 points"


def test_a_silent_machine_is_sick_and_alarms_cost_up_to_their_limit() -> None:
    assert health(GOOD | {("host.alive", ""): 0.0}, Alarms(), [])["score"] == 0.0
    assert health(GOOD, Alarms(critical=1), [])["score"] == 85.0
    assert health(GOOD, Alarms(critical=50, warning=50, predicted=50), [])["score"] == 11.0


@given(
    st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(-1e6, 1e6)),
    st.integers(0, 99),
    st.integers(0, 99),
)
def test_terms_and_score_add_up_whatever_is_measured(
    values: dict[str, float], critical: int, predicted: int
) -> None:
    alarms = Alarms(critical=critical, predicted=predicted)
    keyed = {(item, ""): value for item, value in values.items()}
    found = terms(keyed, alarms)
    report = HealthReported.model_validate({"name": "h", "at": NOW, **health(keyed, alarms, [])})
    assert report.score == pytest.approx(max(0, 100 - sum(t.lost for t in found)), abs=0.06)
    assert [t.lost for t in found] == sorted((t.lost for t in found), reverse=True)


@pytest.mark.parametrize(
    ("cpu", "memory", "usage"),
    [(2, 10, "idle"), (50, 50, "normal"), (95, 50, "overloaded"), (5, 97, "overloaded")],
)
def test_a_days_use_tells_idle_machines_from_busy_ones(
    cpu: float, memory: float, usage: str
) -> None:
    found = health(GOOD, Alarms(), day(cpu, memory))
    assert found["usage"] == usage
    if usage == "idle":
        assert found["reclaimable_cpu_percent"] == 97.5
        assert "could be used otherwise" in str(found["advice"])
    assert health(GOOD, Alarms(), day(cpu, memory)[:3])["usage"] == "unknown"


def test_the_trend_is_in_points_a_day() -> None:
    assert health(GOOD, Alarms(), day(50, 50, 124, -24))["trend"] == pytest.approx(-24, abs=0.3)
    assert health(GOOD, Alarms(), [])["trend"] is None


class Snapshots:
    def __init__(self) -> None:
        self.kept: list[tuple[str, Stored]] = []

    def write(self, offset: int, arrays: Mapping[str, Array]) -> None:
        self.kept.insert(0, (str(offset), Stored(pack(offset, arrays))))

    def newest_first(self) -> Iterator[tuple[str, Stored]]:
        yield from self.kept

    def begin_again(self) -> None:
        raise AssertionError("its stream is the same one")


class Remembered(kept.Book):
    """The healer's store, and everything that was reported."""

    def __init__(self) -> None:
        super().__init__(Store("sqlite://"))
        self.told: list[HealthReported] = []

    def keep(self, reports: list[HealthReported]) -> None:
        super().keep(reports)
        self.told += reports


def batch(minute: float, **values: float) -> bytes:
    at = NOW_MS + int(minute * 60_000)
    rows = [("h1", item.replace("_", "."), "", at, value) for item, value in values.items()]
    return encode(from_rows(rows, at))


def test_reports_come_when_something_moved_and_a_killed_replica_goes_on_alike() -> None:
    store, memory = Snapshots(), Remembered()
    worker = HealthWorker(0, store, memory)
    said: list[object] = []
    for minute in range(90):
        idle = 80.0 if minute < 30 else 0.0
        said += worker.process(minute, batch(minute, cpu_idle=idle, mem_memused_percent=40.0))
        if minute == 45:
            worker.snapshot(minute)
            worker = HealthWorker(0, store, memory)
            assert worker.restore() == 45
    scores = [report.score for report in memory.told]
    assert said == memory.told
    assert scores[0] == 100.0
    assert scores[-1] == pytest.approx(80.0, abs=0.5)
    assert len(scores) < 20, "not one a minute"


@pytest.mark.parametrize("snapshot", [True, False])
def test_a_machines_day_outlives_the_replica_that_saw_it(snapshot: bool) -> None:
    memory, own = Remembered(), Snapshots()
    worker = HealthWorker(0, own, memory)
    for step in range(9 * 4):
        if snapshot and step == 3 * 4:
            worker.snapshot(step)  # an early one: the later hours are another replica's
        idle = 40.0 - step
        worker.process(step, batch(15 * step, cpu_idle=idle, mem_memused_percent=40.0))
    other = HealthWorker(0, own, memory)
    assert other.restore() == (12 if snapshot else None)
    (report,) = other.process(36, batch(15 * 36, cpu_idle=5.0, mem_memused_percent=40.0))
    assert isinstance(report, HealthReported)
    assert report.usage == "normal", "hours enough are known"
    assert report.trend is not None
    assert report.trend < -10
    hours = [hour.hour for hour in memory.past(["h1"])["h1"]]
    assert hours == sorted(set(hours))
    assert len(hours) == 8, "all but the one that ran"


def test_a_day_that_comes_late_counts_though_heartbeats_have_moved_the_clock() -> None:
    store, memory = Snapshots(), Remembered()
    worker = HealthWorker(0, store, memory)
    day_later = NOW_MS + 24 * 3_600_000
    heartbeat = encode(from_rows([], day_later))
    assert list(worker.process(0, heartbeat)) == []
    for step in range(24 * 12):
        at = NOW_MS + step * 300_000
        worker.process(2 * step + 1, encode(from_rows([("h1", "cpu.idle", "", at, 80.0)])))
        worker.process(2 * step + 2, encode(from_rows([], day_later + step * 5_000)))
        if step == 100:
            worker.snapshot(step)
            worker = HealthWorker(0, store, memory)
            assert worker.restore() == step
    hours = memory.past(["h1"])["h1"]
    assert len(hours) in (23, 24), "all but the one that runs"
    assert {(hour.cpu, hour.memory) for hour in hours} == {(20.0, None)}
    assert {report.usage for report in memory.told} == {"unknown"}, "its memory was never told"
    times = [report.at for report in memory.told]
    assert times == sorted(set(times))
    assert (times[0].timestamp() * 1000, len(times)) == (NOW_MS, 24 * 4), "a quarter each"
    again = worker.process(999, encode(from_rows([("h1", "cpu.idle", "", NOW_MS, 5.0)])))
    assert list(again) == [], "what was sent twice counts once"


def test_a_gateway_whose_clock_was_a_year_ahead_stops_no_reports() -> None:
    store, memory = Snapshots(), Remembered()
    worker = HealthWorker(0, store, memory)
    year = 365 * 24 * 60
    for minute in range(10):
        worker.process(minute, batch(minute, cpu_idle=80.0, mem_memused_percent=40.0))
    worker.process(10, batch(year, cpu_idle=80.0, mem_memused_percent=40.0))
    for beat in range(BACK_AFTER):
        worker.process(11 + beat, encode(from_rows([], NOW_MS + 600_000 + beat * 15_000)))
        if beat == 3:
            worker.snapshot(11 + beat)
            worker = HealthWorker(0, store, memory)
            assert worker.restore() == 11 + beat
    before = len(memory.told)
    for minute in range(12, 80):
        at = NOW_MS + minute * 60_000
        rows = [("h2", "cpu.idle", "", at, 80.0 if minute % 2 else 0.0)]
        worker.process(20 + minute, encode(from_rows(rows, at)))
    later = memory.told[before:]
    assert len(later) > 10, "more than one a quarter of an hour"
    assert all(report.at < NOW + timedelta(hours=2) for report in later)
    assert all(hour.hour <= NOW_MS // 3_600_000 + 2 for hour in memory.past(["h2"])["h2"])


def test_series_and_machines_that_come_and_go_do_not_add_up() -> None:
    store, memory = Snapshots(), Remembered()
    worker = HealthWorker(0, store, memory)
    for hour in range(24 * 7):
        at = NOW_MS + hour * 3_600_000
        rows = [
            ("h1", "df.bytes.used.percent", labels_text({"mount": f"/run/{hour}"}), at, 50.0),
            ("h1", "cpu.idle", "", at, 80.0),
            (f"pod-{hour}", "cpu.idle", "", at, 80.0),
        ]
        worker.process(hour, encode(from_rows(rows, at)))
        if hour == 24 * 5:
            worker.snapshot(hour)
            worker = HealthWorker(0, store, memory)
            assert worker.restore() == hour
    assert len(worker._machines) < 30
    assert len(worker._machines["h1"].values) < 30
    assert len(memory.past(["h1"])["h1"]) == 24


def test_a_machine_that_was_removed_counts_in_no_group_and_is_forgotten() -> None:
    desk = Desk()
    long_ago = NOW - timedelta(hours=2)
    reports = [
        HealthReported.model_validate({"name": name, "at": at, **health(values, Alarms(), [])})
        for name, at, values in (
            ("web-1", NOW, GOOD),
            ("web-0", long_ago, {("df.bytes.used.percent", ""): 100.0}),
        )
    ]
    with desk.store.transaction() as records:
        kept.keep(records, reports)
        (group,) = kept.groups(records, (Group(name="web", hosts="web-*"),), NOW)
        assert isinstance(group, HealthReported)
        assert (group.machines, group.score) == (1, 100.0)
        gone = kept.Past(name="web-0", hours=(Hour(NOW_MS // 3_600_000 - 2, 75.0),))
        here = kept.Past(name="web-1", hours=(Hour(NOW_MS // 3_600_000, 75.0),))
        records.put_all(kept.PASTS, [gone, here])
        kept.forget(records, NOW - timedelta(hours=1, minutes=30))
        assert {each.name for each in records.find(HEALTH)} == {"web-1", "web"}
        assert {each.name for each in records.find(kept.PASTS)} == {"web-1"}


def test_machines_and_groups_are_kept_with_their_alarms() -> None:
    desk = Desk()
    desk.take(anomaly(), prediction())
    store = Store("sqlite://")
    with desk.store.transaction() as records:
        alarms = kept.open_alarms(records)
    assert alarms == {"host1": Alarms(critical=1, predicted=1)}
    reports = [
        HealthReported.model_validate(
            {"name": f"web-{n}", "at": NOW, **health(GOOD, Alarms(critical=3 * n), day(2, 10))}
        )
        for n in range(3)
    ]
    with store.transaction() as records:
        kept.keep(records, reports)
        (group,) = kept.groups(records, (Group(name="web", hosts="web-*"),), NOW)
        assert isinstance(group, HealthReported)
        assert (group.machines, group.score) == (3, pytest.approx(70.0, abs=0.1))
        assert group.first.startswith("web-2 is watch (55)") or "web-1" in group.first
        assert records.get(HEALTH, "group/web") == group
    assert of_group("web", reports)["usage"] == "idle"
