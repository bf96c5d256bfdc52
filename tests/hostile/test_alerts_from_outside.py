"""Alertmanager's clients: whatever they send becomes an alert people hear of, or a named fault."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.healer.incidents.alert_bodies import readable, readable_webhook
from services.healer.incidents.alert_machine import candidates, located
from services.healer.incidents.alertmanager_alerts import Outside, OutsideAlert, understood
from services.healer.incidents.answers import ANSWERED, Answered
from shared.contracts import AlertChanged, Message
from shared.contracts.alerts import AlertState, Severity
from shared.service import Context
from shared.store import Store
from tests.unit.healer.test_incidents import Desk

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def one(**alert: Any) -> Outside:
    (found,), faults = readable([alert])
    assert faults == []
    return understood(found, NOW, timedelta(minutes=5))


def named(**labels: str) -> Outside:
    return one(labels={"alertname": "DiskFull", **labels})


@pytest.mark.parametrize(
    "instance",
    [
        *("vm", "vm:9100", "VM.", "http://vm:9100/metrics", "https://user@vm/health?x=1"),
        *("vm:9100/x", "jdbc:mysql://vm:3306/orders", "tcp://vm:2375", "user:pw@vm:5432/orders"),
        *("user:pw@tcp(vm:3306)/orders", "tcp(vm:3306)/", "(vm:3306)", "//user:pw@vm/x"),
    ],
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
    assert one(labels={"alertname": "x"}, annotations=None).observation.sentence == "x"


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
        value=outside.observation.value,
        sentence=outside.observation.sentence,
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


@pytest.mark.parametrize(
    ("labels", "machine"),
    [
        ({"host": "www.example.com", "instance": "web1:9113"}, "web1"),
        ({"host": "www.example.com", "instance": "10.0.0.5:9113"}, "10.0.0.5"),
        ({"host": "*", "instance": "web1:9113"}, "web1"),
        ({"host": "shop.example.com", "instance": "web1", "job": "nginx"}, "web1"),
        ({"host": "web1", "instance": "sda"}, "web1"),
        ({"host": "web1"}, "web1"),
    ],
)
def test_a_virtual_host_is_not_taken_for_the_machine_it_is_on(
    labels: dict[str, str], machine: str
) -> None:
    assert named(**labels).series.host == machine


def test_a_node_is_meant_where_its_own_agent_answers_and_not_who_watches_it() -> None:
    labels = {"alertname": "KubeNodeNotReady", "node": "k1", "job": "watcher"}
    (alert,), _ = readable([{"labels": labels | {"instance": "10.42.0.5:8080"}}])
    with Store("sqlite://").transaction() as kept:
        assert located(candidates(alert, NOW, None), kept).series.host == "10.42.0.5"
        kept.put(ANSWERED, Answered(host="k1", at=NOW))
        assert located(candidates(alert, NOW, None), kept).series.host == "k1"
        kept.put(ANSWERED, Answered(host="10.42.0.5", at=NOW))
        assert located(candidates(alert, NOW, None), kept).series.host == "10.42.0.5"


@pytest.mark.parametrize("status", [None, {"state": "active", "silencedBy": []}, 7])
def test_what_alertmanager_lists_may_be_posted_again(status: object) -> None:
    labels = {"alertname": "DiskFull", "host": "a"}
    found = one(labels=labels, annotations=[], status=status, receivers=[{"name": "x"}])
    assert (found.series.host, found.over) == ("a", False)


@pytest.mark.parametrize("start", [{}, {"startsAt": "2023-12-31T00:00:00Z"}], ids=["none", "same"])
@pytest.mark.parametrize("end", ["said", "not repeated"])
def test_an_alert_that_comes_again_after_its_end_is_an_alert_of_its_own(
    start: dict[str, str], end: str
) -> None:
    (alert,), _ = readable([{"labels": {"alertname": "DiskFull", "host": "a"}, **start}])
    over, desk = alert.model_copy(update={"status": "resolved"}), Desk(group_wait_s=5)
    changes: list[Message] = []

    def posted(what: OutsideAlert) -> None:
        with desk.store.transaction() as kept:
            context, holds = Context(desk.now, "", 1, kept), timedelta(seconds=60)
            changes.extend(desk.handlers.outside_alerts([what], holds, context))
        changes.extend(desk.later(6))

    for _ in range(3):
        posted(alert)
        if end == "said":
            posted(over)
        changes.extend(desk.later(120))
        desk.later(10)
    # What its source ended with its start given is over for good: the next one has another start.
    times = 1 if start and end == "said" else 3
    changed = [each for each in changes if isinstance(each, AlertChanged)]
    opened = [each.alert_id for each in changed if each.state is AlertState.FIRING]
    assert len(opened) == len(set(opened)) == times
    assert len({each.message_id() for each in changed}) == 2 * times
    assert [mail.kind for mail in desk.mails()] == ["firing", "resolved"] * times
    assert len({mail.message_id for mail in desk.mails()}) == 2 * times


def test_an_alert_that_comes_again_while_its_end_is_held_goes_on() -> None:
    (alert,), _ = readable([{"labels": {"alertname": "DiskFull", "host": "a"}}])
    over, desk = alert.model_copy(update={"status": "resolved"}), Desk(keep_firing_s=60)
    changes: list[Message] = []
    for what in (alert, over, alert):
        with desk.store.transaction() as kept:
            context, holds = Context(desk.now, "", 1, kept), timedelta(seconds=300)
            changes.extend(desk.handlers.outside_alerts([what], holds, context))
        changes.extend(desk.later(20))
    changes.extend(desk.later(120))
    states = [each.state for each in changes if isinstance(each, AlertChanged)]
    assert states == [AlertState.FIRING]


def test_an_annotation_of_blanks_says_nothing() -> None:
    labels = {"alertname": "DiskFull", "host": "a"}
    said = one(labels=labels, annotations={"summary": " \n", "description": "It is full. "})
    assert said.observation.sentence == "It is full."
    assert one(labels=labels, annotations={"summary": " "}).observation.sentence == "DiskFull"


def test_of_two_machines_named_the_one_that_is_known_is_meant_and_its_end_is_found() -> None:
    records = Store("sqlite://")
    labels = {"alertname": "DiskFull", "host": "web1", "instance": "10.0.0.5:9100"}
    (alert,), _ = readable([{"labels": labels}])
    with records.transaction() as kept:
        assert located(candidates(alert, NOW, None), kept).series.host == "10.0.0.5"
        kept.put(ANSWERED, Answered(host="web1", at=NOW))
        assert located(candidates(alert, NOW, None), kept).series.host == "web1"

    desk = Desk()
    with desk.store.transaction() as kept:
        context = Context(NOW, "", 1, kept)
        told = [*desk.handlers.outside_alerts([alert], None, context)]
        kept.put(ANSWERED, Answered(host="web1", at=NOW))
        over = alert.model_copy(update={"status": "resolved"})
        told += desk.handlers.outside_alerts([over], None, context)
    changed = [message for message in told if isinstance(message, AlertChanged)]
    assert {message.series.host for message in changed} == {"10.0.0.5"}
    assert changed[-1].state is AlertState.RESOLVED


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        *((word, Severity.CRITICAL) for word in ("P1", "p2", "sev1", "SEV-2", "S1", "page")),
        *((word, Severity.CRITICAL) for word in ("Disaster", "1 - Critical", "CRIT", "blocker")),
        *((word, Severity.WARNING) for word in ("P3", "sev_3", "ticket", "Average", "major")),
        *((word, Severity.WARNING) for word in ("", "紧急?", "x" * 10_000)),
        *((word, Severity.INFO) for word in ("P4", "P5", "sev5", "none", "info", "Informational")),
    ],
)
def test_a_severity_means_what_those_who_write_it_mean(word: str, severity: Severity) -> None:
    assert named(severity=word).signal.severity is severity


def test_a_priority_counts_where_there_is_no_severity() -> None:
    assert named(priority="P1").signal.severity is Severity.CRITICAL
    assert named(priority="P1", severity="info").signal.severity is Severity.INFO


def test_a_body_for_the_other_door_is_told_which_one_it_is() -> None:
    alert = {"labels": {"alertname": "x"}}
    found, (fault,) = readable({"version": "4", "status": "firing", "alerts": [alert]})
    assert found == []
    assert "/webhooks/alertmanager" in fault.problem
    found, (fault,) = readable_webhook([alert], NOW)
    assert found == []
    assert "/api/v2/alerts" in fault.problem


def test_grafanas_webhook_is_read_as_alertmanagers() -> None:
    alert = {
        "status": "firing",
        "labels": {"alertname": "DatasourceNoData", "grafana_folder": "infra"},
        "annotations": {"summary": "no data"},
        "startsAt": "2026-01-02T03:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "?orgId=1",
        "fingerprint": "57c6d9296de2ad39",
        "silenceURL": "https://grafana.example.com/alerting/silence/new",
        "values": {"B": 44.2, "C": None},
    }
    body = {"receiver": "x", "status": "firing", "orgId": 1, "alerts": [alert], "version": "1"}
    (found,), faults = readable_webhook(body, NOW)
    assert faults == []
    assert found.labels["alertname"] == "DatasourceNoData"


def test_numbers_and_truths_are_taken_as_texts_and_null_as_none() -> None:
    odd = one(
        labels={"alertname": "x", "port": 9100, "ok": True, "load": 0.5, "team": None},
        annotations={"value": 95.2, "summary": None},
        startsAt="",
    )
    assert odd.series.labels == {"port": "9100", "ok": "true", "load": "0.5"}
    assert odd.observation.value == 95.2


def test_a_label_that_holds_a_map_or_a_list_is_named() -> None:
    found, faults = readable([{"labels": {"a": {"b": "c"}}}, {"labels": {"a": ["b"]}}])
    assert found == []
    assert [fault.field for fault in faults] == ["0.labels.a", "1.labels.a"]


def test_an_annotation_in_any_form_costs_no_alert() -> None:
    odd = {"summary": {"a": 1}, "description": ["b"], "value": "95.5%", "runbook": 7}
    found = one(labels={"alertname": "x"}, annotations=odd)
    assert found.observation.sentence == '{"a": 1}'
    assert found.observation.value == 95.5


def test_a_leap_second_is_a_moment() -> None:
    assert one(labels={"a": "b"}, endsAt="2016-12-31T23:59:60Z").over


def test_no_alerts_are_none_however_their_sender_writes_it() -> None:
    assert readable(None) == ([], [])
    assert readable_webhook({"version": "4", "status": "resolved", "alerts": None}, NOW) == ([], [])


def test_an_alert_without_a_state_of_its_own_ends_with_its_group() -> None:
    silent = {"labels": {"alertname": "a"}}
    firing = {"labels": {"alertname": "b"}, "status": "firing"}
    found, _ = readable_webhook(
        {"version": "4", "status": "resolved", "alerts": [silent, firing]}, NOW
    )
    assert [understood(each, NOW, None).over for each in found] == [True, False]


@pytest.mark.parametrize("words", [["disk is full"], "disk is full", [{"text": "disk is full"}], 7])
def test_annotations_that_are_no_map_cost_no_alert(words: Any) -> None:
    found = one(labels={"alertname": "x"}, annotations=words)
    said = words if isinstance(words, str) else json.dumps(words)
    assert found.observation.sentence == said


@pytest.mark.parametrize("label", ["host", "hostname", "node", "nodename"])
def test_an_alert_of_localhost_is_about_the_machine_that_another_label_names(label: str) -> None:
    assert named(instance="localhost:9100", job="node", **{label: "web1"}).series.host == "web1"


def test_an_alert_about_federated_series_is_about_the_machine_that_was_measured() -> None:
    direct = named(instance="web1:9100", job="node")
    through = named(
        instance="prom:9090", job="federate", exported_instance="web1:9100", exported_job="node"
    )
    assert through.series == direct.series


def test_both_prometheis_of_a_pair_tell_one_alert() -> None:
    pair = [named(instance="vm:9100", prometheus_replica=f"prometheus-{n}") for n in range(2)]
    assert pair[0].series == pair[1].series
    assert pair[0].signal.event_id == pair[1].signal.event_id


def test_an_alert_about_a_cluster_outlives_a_rollout_of_who_watches_it() -> None:
    told = {"job": "kube-state-metrics", "namespace": "shop", "pod": "cart-1"}
    first, second = (named(**told, instance=f"10.42.7.{n}:8080") for n in (31, 32))
    assert first.series == second.series


def test_an_alert_about_a_pod_is_not_about_the_one_that_reports_it() -> None:
    labels = {"pod": "ksm-1", "namespace": "monitoring", "instance": "10.0.0.1:8080"}
    about = {"exported_pod": "cart-1", "exported_namespace": "shop"}
    found = named(**labels, **about, job="kube-state-metrics").series.labels
    assert (found["namespace"], found["pod"]) == ("shop", "cart-1")
    forged = named(**labels, **about, job="shop").series.labels
    assert (forged["namespace"], forged["pod"]) == ("monitoring", "ksm-1")


@pytest.mark.parametrize("status", ["resolved", "RESOLVED", "Resolved"])
def test_an_end_is_one_however_it_is_written(status: str) -> None:
    assert one(labels={"a": "b"}, status=status).over


def test_numbers_that_json_writes_in_too_many_digits_cost_one_alert_at_most() -> None:
    good = {"labels": {"alertname": "good"}}
    body = [{"labels": {"a": 10**400}}, {"labels": {"a": float("inf")}}, good]
    found, faults = readable(body)
    assert len(found) + len(faults) == 3
    assert found[-1].labels["alertname"] == "good"


@pytest.mark.parametrize("bad", [{}, None, 5, {"labels": {"a": []}}, {"labels": {"": "x"}}])
def test_a_request_of_millions_of_alerts_costs_no_more_than_its_first(bad: object) -> None:
    good = {"labels": {"alertname": "a"}}
    found, faults = readable([good, *[bad] * 3_000_000])
    assert len(found) == 1
    assert len(faults) <= 1_002
    assert "send fewer at once" in faults[-1].problem
