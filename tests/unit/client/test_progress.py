"""How far a job is, as its log says; the alarms of its machines; its event files. No server."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client import handlers
from services.client.alerts import handlers as alert_handlers
from services.client.progress import advanced, last_step
from shared.contracts import JobAccepted, JobSubmit, JobSucceeded, LogAppended, Member
from tests.unit.client.alerts.events import SERIES, an_id, changed
from tests.unit.client.test_api import NOW, Desk, event
from tests.unit.client.test_description import (
    CLUSTER,
    ONE,
    PS,
    TWO,
    at,
    described,
    desk_with_a_cluster,
    hear,
    reported,
    started,
)

desk = pytest.fixture(desk_with_a_cluster, name="desk")


def said(member: Member, number: int, text: str) -> LogAppended:
    return LogAppended(
        job_id="a",
        member=member,
        chunk=number,
        key=f"k{member.name}{number}",
        text=text,
        at=at(number),
    )


@pytest.mark.parametrize(
    ("text", "done", "total", "words"),
    [
        ("BAROGRAPH_PROGRESS 300/1000 loss=0.12\n", 300, 1000, "loss=0.12"),
        ("x\nBAROGRAPH_PROGRESS 1/3\nBAROGRAPH_PROGRESS 2/3\nBAROGRAPH_PROG", 2, 3, ""),
        ("BAROGRAPH_PROGRESS 12.5 %\r\n", 12.5, 100, ""),
        ("10/10 [====]\nEpoch 3/10\n", 2, 10, "epoch 3"),
        ("1%\rBAROGRAPH_PROGRESS 7/9\n", 7, 9, ""),
    ],
)
def test_a_line_of_its_own_tells(text: str, done: float, total: float, words: str) -> None:
    step = last_step(text)
    assert step is not None
    assert (step.done, step.total, step.text) == (done, total, words)


@pytest.mark.parametrize(
    "text",
    [
        "BAROGRAPH_PROGRESS 3/10",  # the line may go on
        "BAROGRAPH_PROGRESS 11/10\n",
        "BAROGRAPH_PROGRESS 0/0\n",
        "BAROGRAPH_PROGRESS -1/2\n",
        "BAROGRAPH_PROGRESS nan/inf\n",
        "it prints BAROGRAPH_PROGRESS 1/2\n",
        f"BAROGRAPH_PROGRESS 1/{'9' * 5000}\n",
    ],
)
def test_what_is_no_progress_is_none(text: str) -> None:
    assert last_step(text) is None


@given(st.text(), st.sampled_from(["BAROGRAPH_PROGRESS ", "Epoch ", ""]))
def test_any_log_gives_a_share_of_a_whole_or_nothing(text: str, begin: str) -> None:
    step = last_step(f"{begin}{text}\n")
    if step is not None:
        progress = advanced(None, "a", ONE, step, NOW)
        assert progress is not None
        assert 0 <= progress.percent <= 100


def test_progress_is_the_first_members_and_says_how_long_it_will_take(desk: Desk) -> None:
    for number, (member, text) in enumerate(
        (
            (TWO, "BAROGRAPH_PROGRESS 90/100\n"),
            (ONE, "BAROGRAPH_PROGRESS 10/100 begun\n"),
            (TWO, "BAROGRAPH_PROGRESS 95/100\n"),
            (ONE, "nothing to say\n"),
            (ONE, "BAROGRAPH_PROGRESS 20/100 loss 0.5\n"),
        )
    ):
        desk.hear(handlers.log_appended, said(member, 10 * number, text))
    progress = described(desk)["progress"]
    assert (progress["done"], progress["percent"], progress["text"]) == (20, 20, "loss 0.5")
    assert progress["remaining_s"] == 240  # ten of a hundred took 30 s
    page = desk.call("GET", "/jobs/a").text
    assert "20 of 100, loss 0.5" in page
    assert '<progress value="20.0" max="100.0"' in desk.call("GET", "/jobs").text
    again = said(ONE.model_copy(update={"incarnation": 2}), 100, "BAROGRAPH_PROGRESS 15/100\n")
    desk.hear(handlers.log_appended, again)
    assert described(desk)["progress"]["remaining_s"] is None
    hear(desk, event(JobSucceeded, 200, "succeeded"))
    assert "<progress" not in desk.call("GET", "/jobs/a").text


def test_a_job_shows_the_alarms_its_machines_had_while_it_ran(desk: Desk) -> None:
    submit = JobSubmit.model_validate(CLUSTER)
    hear(desk, event(JobAccepted, 1, "accepted", submit=submit), reported(PS, 2), started(PS, 3))
    during, elsewhere = (
        changed(
            1,
            "firing",
            alert_id=an_id(host),
            series=SERIES | {"host": host},
            at=NOW + timedelta(seconds=60),
        )
        for host in ("node-1", "node-2")
    )
    for each in (during, elsewhere):
        desk.hear(alert_handlers.alert_changed, each)
    page = desk.call("GET", "/jobs/a").text
    assert "Alerts on its machines while it ran" in page
    assert f"/alerts/{during.alert_id}" in page
    assert elsewhere.alert_id not in page
    assert "Members there: ps-0." in page
