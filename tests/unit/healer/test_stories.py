"""The mail of each story, word for word; ``BAROGRAPH_GOLDEN=1`` writes them anew."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from services.healer.model.notice import Notice
from services.healer.notify.render.text import plain
from services.healer.notify.render.title import title
from shared.contracts import ItemRead, RemediationExecute
from tests.unit.healer import test_acting as acting
from tests.unit.healer.stories import STORIES, likely
from tests.unit.healer.test_alerting import over, trouble
from tests.unit.healer.test_incidents import (
    AUTOMATIC,
    DISK,
    NOW,
    Desk,
    anomaly,
    executed,
    observed,
    only,
)

GOLDEN = Path(__file__).parent / "golden_mails"


@pytest.mark.parametrize("name", sorted(STORIES))
def test_the_mail_of_a_story_says_what_it_said(name: str) -> None:
    told = STORIES[name]()
    path = GOLDEN / f"{name}.txt"
    text = f"{title(told)}\n\n{plain(told)}"
    if os.environ.get("BAROGRAPH_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_no_story_speaks_of_a_spike_where_a_value_fell() -> None:
    text = plain(STORIES["unlike_itself"]())
    assert "unusual for it: a fall" in text
    assert "spike" not in text
    assert "alarm:" not in title(STORIES["unlike_itself"]())


def test_what_was_cleaned_in_time_is_not_told_under_another_ends_headline() -> None:
    desk = Desk(AUTOMATIC, group_wait_s=5)
    worse = trouble("host1", "queue.length")
    desk.take(worse)
    desk.later(5)
    order = only(desk.take(likely()), RemediationExecute)
    desk.take(executed(order))
    desk.take(over(worse))
    desk.take(observed(only(desk.later(6), ItemRead), 9.0, NOW + timedelta(seconds=12)))
    desk.later(40)
    titles = {title(mail) for mail in desk.mails()[1:]}
    assert titles == {
        "[critical] resolved: queue.length on host1 has cleared: 1 now; no action needed",
        (
            "[critical] handled: df.bytes.used.percent of /var/log on host1 is out of danger: "
            "80 % → 9 %; no action needed"
        ),
    }


def test_an_alarm_that_was_predicted_is_told_from_when_it_came_and_why_nothing_was_done() -> None:
    desk = acting.Desk(acting.APPROVE)
    desk.propose(likely())
    desk.later(70)
    desk.take(anomaly(DISK))
    desk.later(16)
    assert "above its threshold of 90 %, since 00:01:10" in desk.mails()[-1].opening
    desk.later(3700)
    desk.later(16)
    told = desk.mails()[-1].opening
    assert "clean-logs expired: nobody decided in time. Nothing has been done about it." in told


def test_the_last_step_of_an_escalation_names_no_further_one() -> None:
    told = STORIES["nobody_answered"]()
    assert isinstance(told, Notice)
    assert "Nobody has acknowledged it." in told.opening
    assert "Nobody else is notified." in told.next_step
