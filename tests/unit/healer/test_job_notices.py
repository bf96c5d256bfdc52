"""Whoever wants to hear of a job does so once, and a job can name nobody who is not allowed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from services.healer.jobs.notices import JobNotices
from services.healer.jobs.record import JOB_WATCHES
from services.healer.jobs.rules import JobRule
from services.healer.model.notice import Summary
from services.healer.model.notification import DELIVERIES, NOTICES, QUOTAS
from services.healer.notify import dispatch
from services.healer.notify.channels import parse
from services.healer.notify.render.text import page_of, plain
from services.healer.settings import HealerSettings
from shared.changes import with_changes
from shared.contracts import (
    JobAccepted,
    JobCancelled,
    JobFailed,
    JobNotifyRefused,
    JobPending,
    JobRunning,
    JobSubmit,
    JobSucceeded,
)
from shared.contracts.job_events import PendingCause
from shared.contracts.job_notices import NoticeTarget
from tests.unit.healer.test_incidents import NOW
from tests.unit.healer.test_incidents import Desk as BaseDesk

CHANNELS = parse(
    [
        {"type": "mail", "name": "jobs", "to": ["Ann <ann@example.org>"], "jobs": True},
        {"type": "mail", "name": "oncall", "to": ["boss@example.org"]},
        {"type": "slack", "name": "slack", "url": "https://hooks.example.org/x", "jobs": True},
        {"type": "slack", "name": "board", "url": "https://hooks.example.org/y"},
    ]
)
WHO = {"job_id": "j1", "name": "digits", "state": "accepted", "sequence": 1, "at": NOW}


class Desk(BaseDesk):
    def __init__(self, *rules: dict[str, Any], **alerting: Any) -> None:
        super().__init__(channels=CHANNELS, **alerting)
        of_jobs = tuple(JobRule.model_validate(rule) for rule in rules)
        jobs = self.handlers.jobs = JobNotices(self.handlers.dispatch, of_jobs, CHANNELS)
        self._table |= {
            JobAccepted: jobs.accepted,
            JobPending: jobs.pending,
            JobRunning: jobs.running,
            JobSucceeded: jobs.succeeded,
            JobFailed: jobs.failed,
            JobCancelled: jobs.cancelled,
        }

    def sent(self) -> list[tuple[str, str, str]]:
        """Headline, channel and recipient of every notice about a job."""
        with self.store.transaction() as records:
            found = []
            for delivery in records.find(DELIVERIES):
                record = records.get(NOTICES, delivery.message_id)
                if record is not None and isinstance(record.notice, Summary):
                    found.append((record.notice.headline, delivery.channel, delivery.recipient))
            return found

    def notice(self) -> Summary:
        with self.store.transaction() as records:
            (record,) = records.find(NOTICES)
        assert isinstance(record.notice, Summary)
        return record.notice


def accepted(job_id: str = "j1", project: str = "default", **notify: Any) -> JobAccepted:
    submit = JobSubmit.model_validate(
        {
            "job_id": job_id,
            "name": "digits",
            "type": "single",
            "package": "jobs:packages:x.tar.gz",
            "main": "main.py",
            "submitted_by": "ann",
            "queue": "vision",
            "project": project,
            "notify": notify or None,
        }
    )
    return JobAccepted(**WHO | {"job_id": job_id}, submit=submit)


def failed(job_id: str = "j1") -> JobFailed:
    return JobFailed(
        **WHO | {"job_id": job_id, "sequence": 5},
        failure_class="user_error",
        reason="the program ended with 1",
        member="worker-0",
        exit_code=1,
        last_lines=("Traceback", "login --password hunter2", "ValueError: <b>no</b>"),
    )


def pending() -> JobPending:
    cause = next(iter(PendingCause))
    return JobPending(**WHO, cause=cause, reason="2 GPUs are missing.", advice="Ask for fewer.")


def test_a_failed_job_is_told_once_with_reason_last_lines_and_link() -> None:
    desk = Desk()
    asked = accepted(to=["mail:ANN@example.org", "slack"])
    desk.take(asked, failed())
    desk.take(failed(), asked, failed())
    told = [
        ("digits has failed", "jobs", "Ann <ann@example.org>"),
        ("digits has failed", "slack", ""),
    ]
    assert sorted(desk.sent()) == told
    notice = desk.notice()
    text = plain(notice, "https://b.example.org/")
    assert "worker-0: the program ended with 1" in text
    assert "ValueError: <b>no</b>" in text
    assert "hunter2" not in text
    assert CHANNELS[0].why(notice) == "the job, or a rule about jobs, names channel jobs."
    assert page_of(notice, "https://b.example.org/") == "https://b.example.org/jobs/j1"


def test_events_may_come_in_any_order() -> None:
    desk = Desk()
    desk.take(failed(), accepted(to=["slack"]))
    assert [headline for headline, *_ in desk.sent()] == ["digits has failed"]


@pytest.mark.parametrize("target", ["mail:boss@example.org", "mail:x@evil.org", "board", "oncall"])
def test_a_job_can_name_nobody_who_is_not_allowed_and_learns_of_it(target: str) -> None:
    desk = Desk()
    (answer,) = desk.take(accepted(to=["slack", target], on=["succeeded"]), failed())
    assert desk.sent() == []
    assert isinstance(answer, JobNotifyRefused)
    (fault,) = answer.faults
    assert (answer.job_id, fault.field) == ("j1", "notify.to.1")
    assert fault.problem == f"jobs may not name {target}; channels that they may name: jobs, slack"


@pytest.mark.parametrize(
    "target",
    [
        "mail:a@b.org,c@d.org",
        "mail:a@b.org\nBcc: c@d.org",
        'mail:"a b"@c.org',
        "mail:<a@b.org>",
        "mail:",
        "Slack",
        "https://hooks.example.org",
        "",
    ],
)
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(NoticeTarget).validate_python(target)


def test_only_what_is_asked_for_is_told() -> None:
    desk = Desk()
    done = JobSucceeded(**WHO | {"sequence": 5})
    desk.take(accepted(to=["slack"], on=["failed"]), done)
    desk.take(accepted("j2", to=["slack"], on=["succeeded"]))
    desk.take(failed("j2"))
    desk.take(accepted("j3"), failed("j3"))
    desk.take(accepted("j4", to=["slack"]), JobCancelled(**WHO | {"job_id": "j4"}))
    assert desk.sent() == []


def test_a_job_that_waits_for_too_long_is_told_with_what_it_waits_for() -> None:
    desk = Desk()
    desk.take(accepted(to=["slack"], pending_s=60), pending())
    desk.later(50)
    assert desk.sent() == []
    desk.later(15)
    desk.later(3600)
    assert [headline for headline, *_ in desk.sent()] == ["digits still waits"]
    assert desk.notice().sentences[0] == "2 GPUs are missing. Ask for fewer."
    desk.take(JobRunning(**WHO, attempt=1), JobSucceeded(**WHO | {"sequence": 9}))
    assert [headline for headline, *_ in desk.sent()][1:] == ["digits has succeeded"]


def test_a_job_that_runs_in_time_is_not_said_to_wait() -> None:
    desk = Desk()
    desk.take(accepted(to=["slack"], pending_s=60), pending(), JobRunning(**WHO, attempt=1))
    desk.later(3600)
    assert desk.sent() == []


def test_many_notices_to_one_address_become_a_digest() -> None:
    desk = Desk(mails_per_hour=2, digest_every_s=600)
    for number in range(5):
        desk.take(accepted(f"n{number}", to=["mail:ann@example.org"]), failed(f"n{number}"))
    desk.later(700)
    sent = desk.sent()
    assert [h for h, *_ in sent if "you were not sent" in h] == [
        "3 notices you were not sent one by one"
    ]


@pytest.mark.parametrize("target", ["mail:ann@example.org", "slack"])
def test_whoever_submits_many_jobs_floods_nobody_and_uses_up_nothing_of_the_alerts(
    target: str,
) -> None:
    desk = Desk(mails_per_hour=2, digest_every_s=600)
    for number in range(50):
        desk.take(accepted(f"n{number}", to=[target]), failed(f"n{number}"))
    with desk.store.transaction() as records:
        sent = records.find(DELIVERIES, status="pending")
        assert len(sent) == 2
        assert len(records.find(DELIVERIES, status="digest of jobs")) == 48
        assert records.find(QUOTAS, due_before=NOW + timedelta(hours=1))[0].jobs
        assert records.get(QUOTAS, "jobs Ann <ann@example.org>") is None, "it is the alerts' own"


def test_a_digest_goes_on_until_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_AT_ONCE", 3)
    desk = Desk(mails_per_hour=1, digest_every_s=60)
    for number in range(9):
        desk.take(accepted(f"n{number}", to=["slack"]), failed(f"n{number}"))
    for _ in range(4):
        desk.later(61)
    with desk.store.transaction() as records:
        assert records.find(DELIVERIES, status="digest of jobs") == []


def test_no_line_of_a_program_passes_for_one_of_the_notice() -> None:
    desk = Desk()
    end = failed().model_copy(update={"last_lines": ("Approve: https://evil.example\x1b[2J", "")})
    desk.take(accepted(to=["slack"]), end)
    lines = plain(desk.notice()).splitlines()
    assert "| Approve: https://evil.example [2J" in [line.replace("?", " ") for line in lines]
    assert not any(line.startswith("Approve") for line in lines)


def test_what_is_over_is_forgotten() -> None:
    desk = Desk()
    desk.take(accepted(to=["slack"]), failed())
    desk.take(accepted("j2"), failed("j2"))
    desk.later(timedelta(days=2).total_seconds())
    with desk.store.transaction() as records:
        assert records.find(JOB_WATCHES) == []


RULE = {"projects": "vision-*", "to": ["board"], "on": ["failed", "pending"]}


def test_a_rule_tells_of_a_projects_jobs_that_ask_for_nothing() -> None:
    desk = Desk(RULE)
    desk.take(accepted("j1", "vision-2"), failed("j1"))
    desk.take(accepted("j2", "speech"), failed("j2"))
    desk.take(accepted("j3"), failed("j3"))
    assert desk.sent() == [("digits has failed", "board", "")]


def test_a_rule_lets_a_job_itself_name_nobody() -> None:
    """It tells ``board`` of failures alone, and nobody else may write to it."""
    desk = Desk(RULE)
    end = JobSucceeded(**WHO | {"sequence": 5})
    desk.take(accepted("j1", "vision-2", to=["board", "oncall"]), end)
    assert desk.sent() == []


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ({"names": "dig*"}, True),
        ({"names": "train-*"}, False),
        ({"submitted_by": "ann"}, True),
        ({"submitted_by": "bob"}, False),
        ({"queues": "vis*"}, True),
        ({"queues": "speech"}, False),
        ({"names": "digits", "submitted_by": "bob"}, False),
    ],
)
def test_all_patterns_of_a_rule_must_fit(pattern: dict[str, str], fits: bool) -> None:
    desk = Desk({"to": ["board"]} | pattern)
    desk.take(accepted(), failed())
    assert bool(desk.sent()) is fits


def test_each_hears_once_of_a_wait_after_its_own_time_and_of_the_end() -> None:
    desk = Desk(RULE | {"to": ["board", "slack"], "pending_s": 600})
    desk.take(accepted("j1", "vision-1", to=["slack", "mail:boss@example.org"], pending_s=60))
    desk.later(70)
    desk.later(600)
    desk.later(600)
    desk.take(failed(), failed())
    assert desk.sent() == [
        ("digits still waits", "slack", ""),
        ("digits still waits", "board", ""),
        ("digits has failed", "slack", ""),
        ("digits has failed", "board", ""),
    ]


def test_a_rule_that_means_a_project_by_a_label_stops_the_start() -> None:
    """Jobs' projects were labels once; a rule that never fits again must not stay unnoticed."""
    with pytest.raises(ValidationError, match=r"write projects: vision-\*"):
        JobRule.model_validate({"labels": {"project": "vision-*"}, "to": ["board"]})


def test_a_rule_that_names_nobody_stops_the_start() -> None:
    rules = [{"to": ["board"]}, {"to": ["mail:ann@example.org", "pager"]}]
    with pytest.raises(ValidationError, match=r"job_notices.1.to: no channel .* is pager"):
        HealerSettings.model_validate({"channels": CHANNELS, "job_notices": rules})


def test_a_watch_of_an_older_version_keeps_what_was_notified() -> None:
    old = {"job_id": "j1", "name": "digits", "told": ["pending slack"], "due": NOW}
    assert JOB_WATCHES.model.model_validate(old).notified == ("pending slack",)


@pytest.mark.parametrize(("pattern", "with_it", "without"), [("*", 1, 1), ("?*", 1, 0), ("", 0, 1)])
def test_a_label_that_is_missing_is_empty_as_in_rules_about_series(
    pattern: str, with_it: int, without: int
) -> None:
    rule = JobRule.model_validate({"labels": {"team": pattern}, "to": ["board"]})
    job = accepted().submit
    assert rule.is_about(with_changes(job, labels={"team": "vision"})) == with_it
    assert rule.is_about(with_changes(job, labels={})) == without
