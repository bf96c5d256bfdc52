"""Machines are known by one name; whoever writes it otherwise still means that machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.detector.overrides import SeriesRule
from services.healer.model.policy import Group
from services.healer.model.rule import Rule
from services.healer.notify.inhibition import Inhibition
from services.healer.notify.matchers import Matcher, Matchers, all_match, labels_of
from services.healer.notify.silences import Silence
from shared.contracts.alerts import SeriesRef, Severity
from shared.contracts.healing import HostPattern
from shared.machine import machine_for, machine_pattern

WRITTEN = {
    "DB7": "db7",
    "db-1:9100": "db-1",
    "https://DB-1.example.org:9100/metrics": "db-1.example.org",
    "db-1.example.org.": "db-1.example.org",
    "[2001:DB8::17]:9100": "2001:db8::17",
    "2001:db8:0::17": "2001:db8::17",
    "büro-pc:9100": "xn--bro-pc-3ya",
    "Rack 7 (left)": machine_for("Rack 7 (left)"),
}
MATCHERS = TypeAdapter(Matchers)


def labels(host: str, /, **others: str) -> dict[str, str]:
    series = SeriesRef(host=host, item="load.5min", labels=others)
    return labels_of(series, "load", Severity.CRITICAL)


def held(text: str, of: dict[str, str]) -> bool:
    return all_match(MATCHERS.validate_python([text]), of)


@pytest.mark.parametrize(("written", "name"), WRITTEN.items())
def test_a_matcher_finds_the_machine_however_it_is_written(written: str, name: str) -> None:
    assert held(f'host="{written}"', labels(name))
    assert not held(f'host!="{written}"', labels(name))
    assert not held(f'host="{written}"', labels("other"))
    assert held(f'host!="{written}"', labels("other"))
    given_apart = Matcher.model_validate({"name": "host", "op": "=", "value": written})
    assert given_apart.matches(labels(name))


@pytest.mark.parametrize(("written", "name"), WRITTEN.items())
def test_every_door_takes_it(written: str, name: str) -> None:
    text = f'host="{written}"'
    silence = Silence.model_validate(
        {
            "silence_id": "s",
            "matchers": [text],
            "starts_at": "2026-01-01T00:00:00Z",
            "ends_at": "2026-01-02T00:00:00Z",
            "owner": "Ann",
            "reason": "work",
        }
    )
    assert silence.covers(labels(name))
    rule = Inhibition.model_validate({"name": "i", "source": [text], "target": ['item="x"']})
    assert rule.is_source(labels(name))
    series = SeriesRef(host=name, item="load.5min")
    policy = Rule.model_validate({"hosts": written, "level": "suggest"})
    assert policy.hosts == name
    assert policy.matches(series, "other")
    assert Group.model_validate({"name": "g", "hosts": written}).hosts == name
    assert SeriesRule.model_validate({"hosts": written, "threshold": 1}).hosts == name


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("DB-*", "db-*"),
        ("DB-*:9100", "db-*"),
        ("db?:9100", "db?"),
        ("*.Example.org.", "*.example.org"),
        ("2001:db8::*:17", "2001:db8::*:17"),
        ("[a-c]db", "[a-c]db"),
        ("*", "*"),
    ],
)
def test_a_pattern_of_machines_is_written_as_their_names_are(written: str, kept: str) -> None:
    assert TypeAdapter(HostPattern).validate_python(written) == kept


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        # The label was left out since it says no more than the machine's name.
        ('instance="db-1:9100"', {}, True),
        ('instance="DB-1"', {}, True),
        ('instance!="db-1:9100"', {}, False),
        ('instance="db-2:9100"', {}, False),
        ('nodename="DB-1"', {}, True),
        # The label tells two exporters of the machine apart.
        ('instance="DB-1:9104"', {"instance": "db-1:9104"}, True),
        ('instance="db-1"', {"instance": "db-1:9104"}, True),
        ('instance="db-1:9100"', {"instance": "db-1:9104"}, False),
        ('instance!="db-1:9100"', {"instance": "db-1:9104"}, True),
        # The absence of a label can still be asked for.
        ('instance=""', {}, True),
        ('instance!=""', {}, False),
        # A label that does not name a machine is compared as it is.
        ('device="SDA"', {"device": "sda"}, False),
        ('item="LOAD.5min"', {}, False),
    ],
)
def test_other_labels_name_the_machine_too(text: str, own: dict[str, str], expected: bool) -> None:
    assert held(text, labels("db-1", **own)) is expected


@given(st.text(max_size=60))
def test_naming_a_machine_twice_changes_nothing(text: str) -> None:
    once = machine_pattern(text)
    assert machine_pattern(once) == once
    matcher = Matcher(name="host", value=text)
    assert Matcher(name="host", value=matcher.value) == matcher


ADDRESSES = ["instance", "node", "nodename", "hostname"]


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_label_that_only_repeats_the_machine_makes_no_two_machines_equal(name: str) -> None:
    rule = Inhibition(
        name="r",
        source=MATCHERS.validate_python(["severity=critical"]),
        target=MATCHERS.validate_python(["severity=warning"]),
        equal=("alertname", name),
    )
    here, there = labels("web1"), labels("web2")
    assert rule.place(here) == rule.place(dict(here)) != rule.place(there)
    assert rule.place(here) == rule.place(labels("web1", **{name: "web1"}))
    assert rule.place(labels("web1", **{name: "web1:9100"})) != rule.place(here)


def test_the_name_of_an_alert_is_its_alertname() -> None:
    plain = labels_of(SeriesRef(host="web1", item="DiskFull"), "disk", Severity.WARNING)
    shown = labels_of(
        SeriesRef(host="web1", item="CPU", labels={"alertname": "CPU > 90%"}),
        "cpu",
        Severity.WARNING,
    )
    assert held('alertname="DiskFull"', plain)
    assert held('alertname=~"Disk.*"', plain)
    assert not held('alertname!="DiskFull"', plain)
    assert held('alertname="CPU > 90%"', shown)
    assert not held('alertname="CPU"', shown)


def test_an_expression_on_instance_sees_the_machine_where_the_label_only_repeats_it() -> None:
    assert held('instance=~"web.*"', labels("web1"))
    assert not held('instance!~"web.*"', labels("web1"))
    assert not held('instance=~"web"', labels("web1"))
    assert held('instance=~"web1:91.."', labels("web1", instance="web1:9100"))
    assert not held('node=~".+"', labels("web1"))


NAMES = st.sampled_from(["host", "item", "family", "severity", "job", "app", "exported_host"])


@given(st.dictionaries(NAMES, st.sampled_from(["error", "page", "www.example.com", "x", "disk"])))
def test_every_label_of_a_series_can_be_told_apart_by_a_matcher(own: dict[str, str]) -> None:
    of = labels("web1", **own)
    ours = labels("web1")
    for name, value in own.items():
        found = f"exported_{name}" if name in ours and ours[name] != value else name
        if f"exported_{name}" not in own:
            assert held(f'{found}="{value}"', of)
    assert {name: of[name] for name in ours} == ours
