"""Alertmanager's clients: whatever they send becomes an alert people hear of, or a named fault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.healer.incidents.alertmanager_alerts import Outside, readable, understood
from shared.contracts import AlertChanged

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def one(**alert: Any) -> Outside:
    (found,), faults = readable([alert])
    assert faults == []
    return understood(found, NOW, timedelta(minutes=5))


def named(**labels: str) -> Outside:
    return one(labels={"alertname": "DiskFull", **labels})


@pytest.mark.parametrize(
    "instance",
    ["vm", "vm:9100", "VM.", "http://vm:9100/metrics", "https://user@vm/health?x=1", "vm:9100/x"],
)
def test_an_alert_meets_its_machine_however_its_instance_is_written(instance: str) -> None:
    assert named(instance=instance).series.host == "vm"


def test_ipv6_instances_are_the_same_machine_with_and_without_brackets_and_port() -> None:
    written = ["[2001:db8::17]:9100", "2001:db8::17", "[2001:DB8:0:0::17]"]
    assert {named(instance=text).series.host for text in written} == {"2001:db8::17"}


def test_alerts_of_two_ports_of_one_machine_stay_two() -> None:
    assert named(instance="vm:9100").series != named(instance="vm:9187").series


NAMES = [
    "磁盘空间不足",
    "内存不足",
    "Высокая загрузка",
    "CPU > 90%",
    "CPU < 90%",
    "Ä",
    "Ö",
    "x" * 300,
]


def test_names_that_differ_are_different_alerts_and_are_shown() -> None:
    found = [one(labels={"alertname": name, "instance": "db7"}) for name in NAMES]
    assert len({outside.series.text() for outside in found}) == len(NAMES)
    for name, outside in zip(NAMES, found, strict=True):
        assert name[:100] in outside.series.labels["alertname"]


def test_a_plain_name_is_not_said_twice() -> None:
    assert named(instance="db7").series.labels == {}


def test_labels_that_name_a_pod_stay_for_the_remediation() -> None:
    found = named(namespace="shop", pod="cart-1", node="n1").series
    assert (found.host, found.labels["pod"], found.labels["namespace"]) == ("n1", "cart-1", "shop")


def test_what_is_too_much_is_cut_and_two_that_differ_in_it_stay_two() -> None:
    long, other = named(x="v" * 600), named(x="v" * 599 + "w")
    assert long.series != other.series
    assert len(long.series.labels["x"]) <= 512
    many = {f"l{n:03}": str(n) for n in range(100)}
    found, changed = named(**many), named(**(many | {"l099": "x"}))
    assert len(found.series.labels) == 65
    assert found.series != changed.series


def test_an_empty_label_is_none_and_an_empty_map_may_be_null() -> None:
    assert named(team="").series == named().series
    assert one(labels={"alertname": "x"}, annotations=None).sight.sentence == "x"


def test_ends_before_starts_is_named_and_costs_only_that_alert() -> None:
    good = {"labels": {"alertname": "good"}}
    bad = good | {"startsAt": "2026-01-02T00:00:00Z", "endsAt": "2026-01-01T00:00:00Z"}
    found, faults = readable([bad, good, "text", {"labels": {"": "x"}}, {"labels": {"a": ""}}])
    assert [alert.labels["alertname"] for alert in found] == ["good"]
    assert [fault.field for fault in faults] == ["0", "2", "3.labels", "4.labels"]
    assert faults[0].problem == "startsAt must be before endsAt"
    assert "has no name" in faults[2].problem
    assert "has a value" in faults[3].problem


def test_a_zero_end_means_none() -> None:
    found = one(labels={"a": "b"}, startsAt="2026-01-02T00:00:00Z", endsAt="0001-01-01T00:00:00Z")
    assert not found.over
    assert found.signal.expires == NOW + timedelta(minutes=5)


moments = st.datetimes(
    timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
).map(datetime.isoformat)
texts = st.text(st.characters(codec=None), max_size=700)
alerts = st.fixed_dictionaries(
    {"labels": st.dictionaries(texts, texts, max_size=80)},
    optional={
        "annotations": st.none() | st.dictionaries(texts, texts, max_size=5),
        "startsAt": moments,
        "endsAt": moments,
        "status": texts,
    },
)


def said_of(outside: Outside) -> AlertChanged:
    """The message by which subscribers hear of the alert."""
    return AlertChanged(
        alert_id=outside.signal.event_id,
        sequence=1,
        state=outside.signal.state,
        severity=outside.signal.severity,
        family=outside.family,
        series=outside.series,
        value=outside.sight.value,
        sentence=outside.sight.sentence,
        at=NOW,
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(alerts, max_size=4))
def test_any_alert_is_named_as_faulty_or_can_be_told_in_every_later_message(body: Any) -> None:
    found, faults = readable(body)
    assert len(found) + len({fault.field.split(".")[0] for fault in faults}) == len(body)
    for alert in found:
        outside = understood(alert, NOW, timedelta(minutes=5))
        said = said_of(outside)
        assert AlertChanged.model_validate_json(said.model_dump_json()) == said
        assert len(said.routing_key().encode()) <= 255
        assert outside.signal.expires is None or outside.signal.expires < NOW + timedelta(days=4000)
