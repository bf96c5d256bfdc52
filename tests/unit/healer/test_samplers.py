"""What the agent reads is in the catalogue, within its bounds, and true."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.healer.agent.readings import Reader
from services.healer.agent.recording import record
from services.healer.agent.samplers import Reading, Sampler, makers
from services.healer.agent.samplers.filesystems import Volumes, used_bytes
from services.healer.agent.samplers.host import chrony_offset, ntpq_offset, timesyncd_offset
from services.healer.agent.samplers.processor import Cpu
from services.healer.agent.samplers.programs import ProgramsCpu
from services.healer.agent.settings import AgentSettings, Volume, Watched
from shared.contracts import SeriesRef
from shared.contracts.metrics import Sample
from shared.items import CANARY, ITEMS
from shared.service.inlet import utc_now
from tests.troubles import BURN, ended, program, started

_ALWAYS = {
    "cpu.idle",
    "cpu.user",
    "load.1min",
    "load.5min",
    "df.bytes.used.percent",
    "mem.memused.percent",
    "mem.swapused.percent",
    "ss.closed",
    "host.alive",
}


class _Now:
    def wait(self, _timeout: float | None = None) -> bool:
        time.sleep(0.2)  # a rate needs a span, and nothing else can give one
        return False


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Sampler, Reading]]:
    # A folder of its own: to add up a machine's /tmp may take minutes.
    volume = Volume(path=tmp_path_factory.mktemp("volume"), capacity_bytes=10**12)
    samplers = [make() for make in makers([volume])]
    _burn(0.3)
    return [(sampler, reading) for sampler in samplers for reading in sampler.sample()]


def _burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def test_every_reading_is_an_item_within_its_bounds(
    readings: list[tuple[Sampler, Reading]],
) -> None:
    for sampler, reading in readings:
        item = ITEMS[reading.item]
        Sample(item=reading.item, time_ms=0, value=reading.value, labels=dict(reading.labels))
        assert reading.item in sampler.items
        assert item.minimum is None or reading.value >= item.minimum
        assert item.maximum is None or reading.value <= item.maximum


def test_every_series_is_read_once(readings: list[tuple[Sampler, Reading]]) -> None:
    series = [(r.item, tuple(sorted(r.labels.items()))) for _, r in readings]

    assert len(series) == len(set(series))


def test_what_every_linux_machine_has_is_read(readings: list[tuple[Sampler, Reading]]) -> None:
    assert {reading.item for _, reading in readings} >= _ALWAYS


def test_all_items_of_the_catalogue_have_a_sampler() -> None:
    watched = [Watched(program="x")]
    read = {item for make in makers([], watched) for item in make().items}
    assert read == set(ITEMS) - {CANARY, "sender.alive"}


def test_the_root_file_system_is_as_full_as_the_system_says(
    readings: list[tuple[Sampler, Reading]],
) -> None:
    (shown,) = (
        r.value
        for _, r in readings
        if r.item == "df.bytes.used.percent" and r.labels == {"mount": "/"}
    )
    usage = shutil.disk_usage("/")

    assert shown == pytest.approx(100 * usage.used / (usage.used + usage.free), abs=1)


def test_work_of_ours_shows_as_cpu_time() -> None:
    cpu = Cpu()
    _burn(0.3)

    values = {reading.item: reading.value for reading in cpu.sample()}

    assert values["cpu.idle"] < 100
    if os.nice(0) <= 0:  # the kernel counts the work of a process that gives way apart from users'
        assert values["cpu.user"] > 0
    assert values["cpu.idle"] + values["cpu.user"] <= 100.01


def test_a_volume_is_as_full_as_its_regular_files_are_long(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 300)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 200)
    (tmp_path / "again").hardlink_to(tmp_path / "a" / "one")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "one")

    (reading,) = Volumes([Volume(path=tmp_path, capacity_bytes=1000)]).sample()

    assert used_bytes(tmp_path) == 500
    assert reading == Reading("df.bytes.used.percent", 50.0, {"mount": str(tmp_path)})


def test_a_volume_over_its_capacity_is_full_and_one_that_is_gone_says_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "big").write_bytes(b"x" * 100)
    volumes = [
        Volume(path=tmp_path, capacity_bytes=10),
        Volume(path=tmp_path / "gone", capacity_bytes=10),
    ]

    assert [r.value for r in Volumes(volumes).sample()] == [100.0]


@pytest.mark.parametrize("item", ["cpu.idle", "df.bytes.used.percent", "ss.closed"])
def test_one_series_is_read_on_demand(item: str) -> None:
    labels = {"mount": "/"} if item.startswith("df.") else {}
    reader = Reader(makers([]), utc_now, _Now)

    value, detail = reader.read(SeriesRef(host="h", item=item, labels=labels))

    assert value is not None
    assert detail == ""


def test_a_watched_programs_cpu_time_is_counted_against_its_cores(tmp_path: Path) -> None:
    burner, idler = program(tmp_path, "burner"), program(tmp_path, "idler")
    processes = started(tmp_path, [burner, "-c", BURN], [idler, "-c", "print(flush=True); input()"])
    watched = [Watched(program=name, cores=0.001) for name in ("burn*", "idler", "none")]
    try:
        sampler = ProgramsCpu(watched)
        _Now().wait()
        used = {reading.labels["program"]: reading.value for reading in sampler.sample()}
    finally:
        ended(processes)()
    assert used == {"burn*": 100.0, "idler": 0.0, "none": 0.0}
    assert {reading.value for reading in sampler.sample()} == {0.0}, "what has ended uses nothing"


def test_a_series_this_machine_has_not_is_answered_with_the_reason() -> None:
    reader = Reader(makers([]), utc_now, _Now)

    value, detail = reader.read(SeriesRef(host="h", item="df.bytes.used.percent"))

    assert value is None
    assert "this machine has no h df.bytes.used.percent" in detail


@pytest.mark.parametrize(
    ("parse", "text", "offset"),
    [
        (
            chrony_offset,
            "C0A80001,192.0.2.1,3,1700000000.0,0.000123,0.1,0.1,1,0,0,0,0,16,Normal",
            0.123,
        ),
        (chrony_offset, "00000000,,0,0.0,0.0,0.0,0.0,0,0,0,0,0,0,Not synchronised", None),
        (chrony_offset, "506 Cannot talk to daemon", None),
        (ntpq_offset, "associd=0 status=0615 leap_none, sync_ntp,\noffset=-1.5, freq=0", -1.5),
        (ntpq_offset, "associd=0 status=c016 leap_alarm, sync_unspec,\noffset=0.000", None),
        (timesyncd_offset, "  Server: 192.0.2.1\n  Offset: +2.5ms\n   Delay: 1ms\n", 2.5),
        (timesyncd_offset, "  Offset: -140us\n", -0.14),
        (timesyncd_offset, "  Server: n/a\n", None),
    ],
)
def test_the_clocks_offset_is_known_only_from_a_synchronised_time_service(
    parse: object, text: str, offset: float | None
) -> None:
    assert callable(parse)
    assert parse(text) == (None if offset is None else pytest.approx(offset))


def test_settings_come_as_json_and_name_the_queue_by_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAROGRAPH_AGENT_HOST", "db.example:9100")
    monkeypatch.setenv("BAROGRAPH_AGENT_ITEMS", '["cpu.idle"]')
    monkeypatch.setenv(
        "BAROGRAPH_AGENT_CLEAN", json.dumps([{"root": "/var/log/app", "min_age_s": 5}])
    )

    settings = AgentSettings.load("agent").addressed()

    assert (settings.instance, settings.word) == ("db.example", "db-example")
    assert settings.items == ("cpu.idle",)
    assert settings.clean[0].min_age_s == 5
    assert AgentSettings().clean == (), "nothing may be deleted unless it is said"


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": '["cpu.idel"]'},
        {"volumes": "[{]"},
        {"clean": '[{"root": "/"}]'},
        {"programs": '[{"program": "x", "cores": 0}]'},
        {"programs": '[{"cores": 1}]'},
        {"volumes": '[{"path": "x", "capacity_bytes": 1}]'},
        {"clean": '[{"rot": "/var/log"}]'},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        AgentSettings.model_validate_strings(wrong)


def test_what_is_recorded_is_what_would_be_sent_in_the_replays_form(tmp_path: Path) -> None:
    items = ("host.alive", "df.bytes.used.percent")
    volume = Volume(path=tmp_path, capacity_bytes=10**12)
    settings = AgentSettings(host="box", items=items, volumes=(volume,), interval_s=0.01)
    written = io.StringIO()
    rows = record(settings, written, 0.2, threading.Event())
    kept = list(csv.DictReader(written.getvalue().splitlines()))
    assert len(kept) == rows > 0
    assert {row["host"] for row in kept} == {"box"}
    assert {row["item"] for row in kept} == set(items)
    mounts = {json.loads(row["labels"])["mount"] for row in kept if row["labels"]}
    assert {"/", str(tmp_path)} <= mounts
    assert all(float(row["value"]) >= 0 and int(row["time"]) > 0 for row in kept)
