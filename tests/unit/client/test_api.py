"""The API, the page and the read model, without servers."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.client import handlers, logs
from services.client.alerts.model import AlertModel
from services.client.api.app import create_app
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.projects import ALL
from services.client.questions import Questions
from services.client.settings import ClientSettings
from shared.contracts import (
    JobFailed,
    JobNotifyRefused,
    JobPending,
    JobRemoved,
    JobRunning,
    JobSubmit,
    LogAppended,
    Member,
    RequestRefused,
)
from shared.messaging import BrokerUnavailable
from shared.service import Context
from shared.storage import MemoryStore
from shared.store import Store, StoreUnavailable
from tests import asgi

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = {"job_id": "a", "name": "x", "main": "a.py", "package": "barograph:packages:x.tar.gz"}


class Desk:
    """The application with what it stands on."""

    def __init__(self, **settings: object) -> None:
        self.sent: list[Any] = []
        self.store = Store("sqlite://")
        self.model, self.objects = ReadModel(self.store), MemoryStore()
        self.alerts = AlertModel(self.store)
        self.objects.ensure_bucket("barograph")
        self.log = Logs(self.model, self.objects, "barograph")
        self.questions = Questions(self, within_s=0.05)
        self.app = create_app(
            ClientSettings.model_validate(settings),
            self,
            self.model,
            self.alerts,
            self.objects,
            self.log,
            Followers(),
            self.questions,
        )
        self.transport = httpx.ASGITransport(self.app)

    def publish(self, messages, *, cause=None, timeout_s=60.0) -> None:
        self.sent += list(messages)

    def call(self, method: str, path: str, **options) -> httpx.Response:
        return asgi.request(self.transport, "http://127.0.0.1", method, path, **options)

    def hear(self, handle, message, now=NOW) -> None:
        with self.store.transaction() as records:
            handle(message, Context(now, "m", 1, records))


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.store.close()


def event(kind, sequence: int, state: str, **fields):
    at = NOW + timedelta(seconds=sequence)
    return kind(job_id="a", name="x", sequence=sequence, state=state, at=at, **fields)


def test_a_submit_is_published_and_listed_at_once(desk: Desk) -> None:
    answer = desk.call("POST", "/api/v1/jobs", json=JOB)
    assert answer.status_code == 202
    assert [type(m) for m in desk.sent] == [JobSubmit]
    assert desk.call("GET", "/api/v1/jobs").json()["jobs"][0]["state"] == "submitted"


@pytest.mark.parametrize("away", ["broker", "store"])
def test_a_submit_that_may_have_been_taken_names_its_job_and_is_one_job_when_repeated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    def unconfirmed(messages, **_options) -> None:
        desk.sent += list(messages)
        raise BrokerUnavailable("no confirm within 60 s")

    def locked(*_job) -> None:
        raise StoreUnavailable("database is locked")

    body = {name: value for name, value in JOB.items() if name != "job_id"}
    with monkeypatch.context() as patched:
        if away == "broker":
            patched.setattr(desk, "publish", unconfirmed)
        else:
            patched.setattr(desk.model, "submitted", locked)
        answer = desk.call("POST", "/api/v1/jobs", json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    (fault,) = answer.json()["faults"]
    (first,) = desk.sent
    assert first.job_id in fault["problem"]
    assert (
        desk.call("POST", "/api/v1/jobs", json=body | {"job_id": first.job_id}).status_code == 202
    )
    assert desk.sent == [first, first]


def test_every_fault_of_a_submit_is_named_and_nothing_is_sent(desk: Desk) -> None:
    answer = desk.call("POST", "/api/v1/jobs", json=JOB | {"main": "../x", "package": "p"})
    assert answer.status_code == 422
    assert {f["field"] for f in answer.json()["faults"]} == {"main", "package"}
    assert desk.sent == []


def test_late_and_repeated_events_change_nothing(desk: Desk) -> None:
    failed = event(JobFailed, 3, "failed", reason="boom", failure_class="user_error")
    for message in (failed, event(JobRunning, 2, "running", attempt=1), failed):
        desk.hear(handlers.job_event, message)
    view = desk.call("GET", "/api/v1/jobs/a").json()
    assert (view["state"], view["reason"], view["sequence"]) == ("failed", "boom", 3)


def test_a_removed_job_does_not_come_back_by_a_late_event(desk: Desk) -> None:
    desk.hear(handlers.job_event, event(JobRemoved, 4, "failed"))
    desk.hear(handlers.job_event, event(JobRunning, 2, "running", attempt=1))
    assert desk.call("GET", "/api/v1/jobs/a").status_code == 404


def test_a_refused_submit_is_shown_with_its_faults(desk: Desk) -> None:
    desk.call("POST", "/api/v1/jobs", json=JOB)
    fault = {"field": "resources.cpu", "problem": "too many"}
    desk.hear(
        handlers.request_refused,
        RequestRefused(
            request_type="job.submit", request_id="r", job_id="a", faults=(fault,), at=NOW
        ),
    )
    view = desk.call("GET", "/api/v1/jobs/a").json()
    assert (view["state"], view["faults"]) == ("refused", [fault])


def test_whom_a_job_names_in_vain_stays_shown_while_it_runs(desk: Desk) -> None:
    fault = {"field": "notify.to.0", "problem": "jobs may not name board"}
    refused = JobNotifyRefused(job_id="a", faults=(fault,), at=NOW)
    desk.hear(handlers.notify_refused, refused)
    desk.hear(handlers.job_event, event(JobRunning, 2, "running", attempt=1))
    view = desk.call("GET", "/api/v1/jobs/a").json()
    assert (view["state"], view["not_notified"]) == ("running", [fault])
    desk.hear(handlers.job_event, event(JobRemoved, 4, "failed"))
    desk.hear(handlers.notify_refused, refused)
    assert desk.call("GET", "/api/v1/jobs/a").status_code == 404


def test_a_log_is_read_whole_in_ranges_and_followed_from_where_one_was(desk: Desk) -> None:
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    for number, text in enumerate(("one\n", "two\n")):
        key = f"jobs/a/logs/worker-0/1/{number:08d}.log"
        desk.objects.put("barograph", key, text.encode())
        member = Member(role="worker", index=0, incarnation=1)
        said = LogAppended(job_id="a", member=member, chunk=number, key=key, text=text, at=NOW)
        for _twice in range(2):
            desk.hear(handlers.log_appended, said)
    assert desk.call("GET", "/api/v1/jobs/a/logs").text == "one\ntwo\n"
    part = desk.call("GET", "/api/v1/jobs/a/logs", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.text) == (206, "e\ntw")
    far = desk.call("GET", "/api/v1/jobs/a/logs", headers={"Range": "bytes=99-"})
    assert far.status_code == 416
    followed = desk.call("GET", "/api/v1/jobs/a/logs/follow", headers={"Last-Event-ID": "1"}).text
    assert "two" in followed
    assert "one" not in followed
    assert "event: end" in followed


def test_a_chunk_that_another_replica_stores_late_is_told_once_and_no_other_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place in the order of arrival is that of its beginning, before what was told already."""
    late = iter([[(300, 2)], [(200, 1), (400, 3)], []])

    def hear(begun_ns: int, number: int) -> None:
        monkeypatch.setattr("shared.store.records.time.time_ns", lambda: begun_ns)
        key = f"jobs/a/logs/worker-0/1/{number:08d}.log"
        desk.objects.put("barograph", key, f"{number}\n".encode())
        member = Member(role="worker", index=0, incarnation=1)
        said = LogAppended(job_id="a", member=member, chunk=number, key=key, text="", at=NOW)
        desk.hear(handlers.log_appended, said)

    class Waiting(logs.Followers):
        async def wait(self, timeout_s: float) -> None:
            for begun_ns, number in next(late):
                hear(begun_ns, number)

    desk.hear(handlers.job_event, event(JobRunning, 1, "running", attempt=1))
    hear(100, 0)

    async def followed() -> list[str]:
        texts: list[str] = []
        async for each in desk.log.follow("a", 0, Waiting(), ALL):
            if isinstance(each, logs.LogEvent):
                texts.append(each.text)
                if len(texts) == 4:
                    break
        return texts

    assert asyncio.run(followed()) == ["0\n", "2\n", "1\n", "3\n"]


def test_a_follower_is_told_of_each_state_once_and_of_its_change(desk: Desk) -> None:
    class Waiting(logs.Followers):
        """Each wait hears the next of these."""

        told = iter(
            (None, event(JobPending, 2, "starting", cause="gang", reason="", advice="wait"), None)
        )

        async def wait(self, timeout_s: float) -> None:
            if (heard := next(self.told)) is not None:
                desk.hear(handlers.job_event, heard)

    desk.hear(handlers.job_event, event(JobRunning, 1, "running", attempt=1))

    async def followed() -> list[object]:
        events = desk.log.follow("a", 0, Waiting(), ALL)
        return [await anext(events) for _ in range(4)]

    running, pending = logs.StateEvent("running", ""), logs.StateEvent("starting", "", "wait")
    assert asyncio.run(followed()) == [running, "", pending, ""]


def test_what_nobody_told_of_in_time_is_followed_to_the_end_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_GRACE_S", -1.0)
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    member = Member(role="worker", index=0, incarnation=1)
    for number, text in enumerate(("one\n", "two\n", "three\n", "four\n")):
        key = f"jobs/a/logs/worker-0/1/{number:08d}.log"
        desk.objects.put("barograph", key, text.encode())
        if number in (0, 2):
            said = LogAppended(job_id="a", member=member, chunk=number, key=key, text=text, at=NOW)
            desk.hear(handlers.log_appended, said)
    followed = desk.call("GET", "/api/v1/jobs/a/logs/follow", headers={"Last-Event-ID": "0"}).text
    texts = [json.loads(line[6:]).get("text") for line in followed.splitlines() if "data: " in line]
    assert texts == ["one\n", "three\n", "two\n", "four\n", None]
    assert followed.endswith('event: end\ndata: {"state": "failed"}\n\n')


def test_foreign_hosts_and_origins_are_refused(desk: Desk) -> None:
    assert desk.call("GET", "/", headers={"Host": "evil.example"}).status_code == 400
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert desk.call("POST", "/api/v1/jobs", json=JOB, headers=headers).status_code == 403
    assert desk.sent == []


def test_a_configured_token_is_asked_for() -> None:
    desk = Desk(api_token="secret")
    assert desk.call("GET", "/api/v1/jobs").status_code == 401
    right = {"Authorization": "Bearer secret"}
    assert desk.call("GET", "/api/v1/jobs", headers=right).status_code == 200
    desk.store.close()


def test_what_a_job_says_of_itself_is_text_in_the_page(desk: Desk) -> None:
    reason = "<script>alert(1)</script>"
    failed = event(JobFailed, 3, "failed", reason=reason, failure_class="unknown")
    desk.hear(handlers.job_event, failed)
    page = desk.call("GET", "/jobs")
    assert reason not in page.text
    assert "&lt;script&gt;" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
