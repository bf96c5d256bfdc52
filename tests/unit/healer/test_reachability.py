"""What is configured, or done by a person, so that nobody would hear of a critical alert."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.healer.model.canary import CANARIES, CanaryState
from services.healer.model.notification import DELIVERIES
from services.healer.notify.channels.webhook import Webhook
from services.healer.people.reachability import problems
from services.healer.people.unheard import Unheard, unheard
from shared.contracts import AlertChanged
from shared.service import Context
from tests.unit.healer.test_alerting import over, put, silence, trouble
from tests.unit.healer.test_incidents import NOW, Desk


def found(desk: Desk) -> str:
    with desk.store.transaction() as records:
        return "\n".join(problems(desk.settings, Context(desk.now, "", 1, records)))


def test_nothing_is_wrong_with_the_defaults_and_a_mailbox() -> None:
    assert found(Desk()) == ""
    narrow = Desk(inhibit=[{"name": "n", "source": ['item="a"'], "target": ['item="b"']}])
    put(narrow, silence())
    assert found(narrow) == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mail_to": ""}, "No channel is configured"),
        ({"policy": {"rules": [{"level": "observe"}]}}, "Rule 0 of the policy lets nobody"),
        (
            {"policy": {"rules": [{"level": "suggest"}, {"items": "df.*", "level": "suggest"}]}},
            "Rule 1 of the policy never matches: rule 0 matches all of it",
        ),
        (
            {"inhibit": [{"name": "wide", "source": ['item="a"'], "target": ['host=~".*"']}]},
            "Inhibition wide attaches every alert",
        ),
    ],
)
def test_settings_that_leave_people_out_are_named(changes: dict[str, Any], why: str) -> None:
    assert why in found(Desk(**changes))


@pytest.mark.parametrize(
    ("first", "second", "hidden"),
    [
        ({"items": "df.*"}, {"items": "df.bytes.*"}, True),
        ({"items": "*.percent"}, {"items": "df.*.percent"}, True),
        ({"items": "df.*"}, {"items": "df.bytes.used.percent", "hosts": "db*"}, True),
        ({"items": "df.*", "hosts": "db*"}, {"items": "df.*"}, False),
        ({"items": "df.b*"}, {"items": "df.*"}, False),
        ({"labels": {"mount": "/var*"}}, {"labels": {"mount": "/var/log"}}, True),
        ({"labels": {"mount": "/var*"}}, {"items": "df.*"}, False),
        ({"labels": {"mount": "*"}}, {"items": "df.*"}, True),
        ({"kinds": ["trend"]}, {"items": "df.*"}, False),
        ({"kinds": ["trend", "spike"]}, {"kinds": ["trend"]}, True),
    ],
)
def test_a_rule_that_an_earlier_one_leaves_nothing_to_is_named(
    first: dict[str, Any], second: dict[str, Any], hidden: bool
) -> None:
    rules = [first | {"level": "suggest"}, second | {"level": "suggest"}]
    assert ("Rule 1 of the policy never matches" in found(Desk({"rules": rules}))) is hidden


@pytest.mark.parametrize("wide", [{"items": "?*"}, {"hosts": "*-*"}, {"labels": {"mount": "*"}}])
def test_a_rule_that_matches_everything_by_another_pattern_is_named(wide: dict[str, Any]) -> None:
    assert "lets nobody be notified" in found(Desk({"rules": [wide | {"level": "observe"}]}))


def test_a_channel_of_escalations_that_no_step_names_is_named() -> None:
    pager = Webhook.model_validate({"name": "pager", "url": "http://x/", "escalation_only": True})
    assert "no step of one names it" in found(Desk(channels=(pager,)))
    step = {"after_s": 60, "channels": ["pager"]}
    assert found(Desk(channels=(pager,), escalation=[step])) == ""


def test_channels_that_take_only_some_alerts_are_not_enough() -> None:
    pager = Webhook.model_validate({"name": "pager", "url": "http://x/", "escalation_only": True})
    assert "No channel takes every critical alert: pager" in found(
        Desk(mail_to="", channels=(pager,))
    )


def test_a_silence_of_everything_or_without_an_end_is_named_while_it_holds() -> None:
    desk = Desk()
    put(desk, silence(matchers=['host=~".+"']))
    assert "Silence s1 of Ann mutes every alert until 2024-01-01 01:00 UTC" in found(desk)
    put(desk, silence(ends_at=NOW + timedelta(days=4000)))
    assert "has no end in sight" in found(desk)
    desk.now += timedelta(days=4001)
    assert found(desk) == ""


def test_windows_that_follow_each_other_for_ever_have_no_end_in_sight() -> None:
    desk = Desk()
    daily = {"rule": "FREQ=DAILY", "first": "2024-01-01T00:00", "duration_s": 86_400}
    put(desk, silence(ends_at=NOW + timedelta(days=4000), recurrence=daily))
    assert "has no end in sight" in found(desk)
    put(desk, silence(ends_at=NOW + timedelta(days=4000), recurrence=daily | {"duration_s": 3600}))
    assert found(desk) == ""


def test_a_channel_that_does_not_take_its_notices_is_named_with_the_reason() -> None:
    desk = Desk()
    desk.take(trouble())
    with desk.store.transaction() as records:
        (delivery,) = records.find(DELIVERIES)
        failed = {"attempts": 4, "problem": "connection refused"}
        records.put(DELIVERIES, delivery.model_copy(update=failed))
    assert "Channel mail has not taken 1 notices" in found(desk)
    assert "connection refused" in found(desk)


def test_each_open_critical_alert_that_nobody_heard_of_is_named_with_what_holds_it() -> None:
    desk = Desk(group_wait_s=5)
    put(desk, silence())
    (held,) = [m.alert_id for m in desk.take(trouble()) if isinstance(m, AlertChanged)]
    desk.take(trouble("told"), trouble("mild", severity="warning"))
    desk.later(5)

    def missed() -> list[Unheard]:
        with desk.store.transaction() as records:
            return unheard(Context(desk.now, "", 1, records))

    (found,) = missed()
    assert (found.alert_id, found.why) == (held, "held back by silence s1")
    assert found.until == NOW + timedelta(hours=1)
    desk.take(over(trouble()))
    assert missed() == []


@pytest.mark.parametrize(
    ("every_s", "state", "late"),
    [
        (60, {"ok_at": NOW - timedelta(seconds=200)}, False),
        (60, {"ok_at": NOW - timedelta(seconds=241), "began": NOW}, True),
        (60, {"began": NOW - timedelta(seconds=241)}, True),
        (60, {}, False),
        (0, {"ok_at": NOW - timedelta(days=1)}, False),
    ],
)
def test_a_canary_that_no_longer_comes_through_is_a_problem(
    every_s: float, state: dict[str, Any], late: bool
) -> None:
    desk = Desk(canary_every_s=every_s)
    with desk.store.transaction() as records:
        records.put(CANARIES, CanaryState(**state))
    assert ("The canary's alarm has not come through" in found(desk)) == late
