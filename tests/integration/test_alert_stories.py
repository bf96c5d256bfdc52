"""Stories of alerts with a healer's process, a real broker and a real mail server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.alert_desk import ALERTING, Desk, alarm, over
from tests.brokers import BrokerUnderTest
from tests.storms import RULES, alerts, named, tables

STORM = {"inhibit": RULES, "storm": {"alerts": 50, "interval_s": 10}}
MACHINES = 16


@pytest.fixture
def desk(broker: BrokerUnderTest, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(tmp_path, broker, getattr(request, "param", ALERTING))
    try:
        yield made
    finally:
        made.stop()


def test_a_rule_found_in_the_past_and_accepted_attaches_the_effect_to_its_cause(
    desk: Desk,
) -> None:
    past = [alarm(f"old{n}", item) for n in range(MACHINES) for item in ("app.slow", "app.errors")]
    past += [alarm(f"other{n}", "net.slow") for n in range(MACHINES)]
    desk.say(*past)
    desk.until(lambda: len(desk.get("/alerts")) == len(past), "all alarms")
    desk.say(*(over(each) for each in past))
    desk.until(lambda: not desk.get("/alerts"), "all ends")
    desk.restart()  # rules are looked for at the start, and then every hour
    desk.until(lambda: len(desk.get("/rules?state=proposed")) == 2, "the proposals")
    (rule,) = [r for r in desk.get("/rules") if r["pair"]["cause"] == "app.slow"]
    assert rule["pair"]["confidence"] == 1.0

    accepted = desk.post(f"/rules/{rule['rule_id']}/accept", {"by": "ann"})
    assert accepted["state"] == "accepted"
    desk.say(alarm("new", "app.slow"))
    desk.until(lambda: desk.mails("on new"), "the cause's mail")
    desk.say(alarm("new", "app.errors"))
    desk.until(lambda: any(a["held_by"] for a in desk.get("/alerts")), "the effect")
    found = {a["labels"]["item"]: a for a in desk.get("/alerts")}
    assert "app.slow -> app.errors" in found["app.errors"]["held_by"]
    assert found["app.errors"]["cause"] == found["app.slow"]["incident_id"]
    (mail,) = desk.mails("on new")
    assert "app.slow" in str(mail["subject"])


def test_a_recurring_window_mutes_what_its_preview_said_and_no_more(desk: Desk) -> None:
    desk.until(lambda: bool(desk.get("/channels")), "the healer")
    first = datetime.now(UTC) - timedelta(hours=1)
    window = {
        "matchers": ['host="rack1"'],
        "ends_at": (first + timedelta(days=30)).isoformat(),
        "owner": "ann",
        "reason": "weekly work on the rack",
        "recurrence": {
            "rule": "FREQ=DAILY",
            "first": first.replace(tzinfo=None).isoformat(),
            "timezone": "UTC",
            "duration_s": 7200,
        },
    }
    preview = desk.post("/silences/preview", window)
    assert preview["mutes_now"]
    assert len(preview["windows"]) == 5
    silence = desk.post("/silences", window)

    desk.say(alarm("rack1", "app.errors"), alarm("rack2", "app.errors"))
    desk.until(lambda: desk.mails("rack2"), "what is not muted")
    desk.until(lambda: any(a["held_by"] for a in desk.get("/alerts")), "what is muted")
    (muted,) = [a for a in desk.get("/alerts") if a["labels"]["host"] == "rack1"]
    assert muted["held_by"] == f"silence {silence['silence_id']}"
    assert not desk.mails("rack1")
    assert desk.http.delete(f"/silences/{silence['silence_id']}").status_code == 200
    desk.until(lambda: desk.mails("rack1"), "what still holds when the window is gone")


def test_a_mail_server_that_is_away_loses_nothing_and_doubles_nothing(desk: Desk) -> None:
    desk.say(alarm("before", "app.errors"))
    desk.until(lambda: desk.mails("before"), "the first mail")
    desk.mailbox.stop()
    hosts = [f"away{number}" for number in range(5)]
    desk.say(*(alarm(host, "app.errors") for host in hosts))
    desk.until(lambda: "delivery_postponed" in desk.healer.log_tail(), "a vain attempt")
    desk.mailbox.start()
    desk.until(lambda: all(desk.mails(host) for host in hosts), "every mail")
    assert [len(desk.mails(host)) for host in ("before", *hosts)] == [1] * 6


@pytest.mark.parametrize("desk", [STORM], indirect=True)
def test_a_storm_is_a_few_mails_that_name_every_root_and_list_every_alert(desk: Desk) -> None:
    storm = alerts(2000, 20)
    for first in range(0, len(storm), 100):
        desk.say(*storm[first : first + 100])
    everything = {f"{alert.series.host} {alert.series.item}" for alert in storm}
    roots = {alert.series.host for alert in storm if alert.series.item == "switch.up"}
    desk.until(lambda: tables(desk.mailbox.messages()) >= everything, "every alert in a table")
    mails = desk.mailbox.messages()
    assert set(named(mails, roots)) == roots
    assert len(mails) <= 5, [str(mail["subject"]) for mail in mails]
