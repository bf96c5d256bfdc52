"""The list of jobs: by state, project and search, and what is done with many at once."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.access import CALLER
from services.client.handlers import job_event, request_refused
from services.client.model import SHOWN_STATES
from services.client.projects import ALL
from services.client.records import JOBS, JobView
from shared.contracts import (
    Fault,
    JobAccepted,
    JobCancel,
    JobFailed,
    JobRemove,
    JobRunning,
    JobSubmit,
    RequestRefused,
)
from tests.unit.client.test_api import JOB, NOW, Desk, event
from tests.unit.client.test_sessions import _signed_in

BEARER = {"authorization": "Bearer right"}
STATES = ("running", "succeeded", "failed", "starting")


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(api_token="right")
    yield made
    made.store.close()


def fill(desk: Desk, many: int) -> None:
    views = [
        JobView(
            job_id=f"digits-{n}",
            name=f"<b>{'sweep' if n % 10 else 'Größe'}-{n}",
            state=STATES[n % 4],
            sequence=1,
            created_at=NOW,
            updated_at=NOW,
            reason=f"reason {n}",
            submit=JobSubmit.model_validate(JOB | {"job_id": f"digits-{n}"}),
        )
        for n in range(many)
    ]
    with desk.store.transaction() as records:
        records.put_all(JOBS, views)


def test_jobs_are_found_by_state_and_parts_of_their_names(desk: Desk) -> None:
    fill(desk, 80)
    cookie, _ = _signed_in(desk)
    page = desk.call("GET", "/jobs", headers=cookie).text
    assert 'aria-current="true">all <small>80</small>' in page
    assert '<a href="/jobs?state=failed">failed <small>20</small></a>' in page
    assert "&lt;b&gt;sweep" in page
    failed = desk.call("GET", "/jobs?state=succeeded&search=GRÖSSE", headers=cookie)
    assert "No job matches" in failed.text, "every tenth is of another state"
    found = desk.call("GET", "/jobs?search=größe-4", headers=cookie).text
    assert found.count('name="job"') == 1
    assert "digits-40" in found
    assert desk.call("GET", "/jobs?state=odd", headers=cookie).status_code == 422


@pytest.mark.slow
@given(search=st.text(min_size=1, max_size=4), offset=st.integers(0, 30), limit=st.integers(1, 20))
def test_a_search_finds_what_its_words_are_in_and_nothing_else(
    search: str, offset: int, limit: int
) -> None:
    desk = Desk()
    fill(desk, 24)
    listed = desk.model.jobs((), 100, 0, ALL)
    found = desk.model.jobs((), limit, offset, ALL, search)
    part = search.casefold()
    wanted = {
        v.job_id for v in listed if any(part in t.casefold() for t in (v.job_id, v.name, v.reason))
    }
    assert {view.job_id for view in desk.model.jobs((), 100, 0, ALL, search)} == wanted
    assert len(found) == min(limit, max(len(wanted) - offset, 0))
    desk.store.close()


def test_a_word_that_is_in_every_job_costs_a_part_of_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(desk, 3_000)
    read: list[object] = []
    parse = JobView.model_validate_json
    monkeypatch.setattr(
        JobView, "model_validate_json", lambda data: read.append(data) or parse(data)
    )
    found = desk.model.jobs((), 51, 0, ALL, "digits")
    assert len(read) < 1_000
    whole = desk.model.jobs((), 3_000, 0, ALL, "digits")
    assert [view.job_id for view in found] == [view.job_id for view in whole[:51]]
    assert (len(found), len(whole)) == (51, 3_000)


@pytest.mark.slow
def test_ten_thousand_jobs_are_a_small_page_and_are_counted(desk: Desk) -> None:
    fill(desk, 10_000)
    cookie, _ = _signed_in(desk)
    for way in ("/jobs", "/jobs?search=9999", "/jobs?state=failed&offset=2450"):
        page = desk.call("GET", way, headers=cookie)
        assert page.status_code == 200
        assert len(gzip.compress(page.content)) < 60_000
    assert desk.model.job_counts(ALL) == dict.fromkeys(STATES, 2_500)
    assert set(STATES) < set(SHOWN_STATES)


@pytest.mark.parametrize("way", ["page", "api"])
def test_a_request_that_was_refused_is_removed_though_no_other_service_knows_it(
    desk: Desk, way: str
) -> None:
    fault = Fault(field="package", problem="there is no such package")
    told = {"request_id": "r", "request_type": "job.submit", "job_id": "bad", "faults": (fault,)}
    desk.hear(request_refused, RequestRefused.model_validate(told | {"at": NOW}))
    cookie, csrf = _signed_in(desk)
    assert 'href="/jobs/bad"' in desk.call("GET", "/jobs", headers=cookie).text
    if way == "page":
        form = {"csrf": csrf, "job": "bad"}
        assert desk.call("POST", "/jobs/remove", data=form, headers=cookie).status_code == 303
    else:
        answer = desk.call("DELETE", "/api/v1/jobs/bad", headers=cookie)
        assert answer.status_code == 202, answer.text
    assert 'href="/jobs/bad"' not in desk.call("GET", "/jobs", headers=cookie).text
    assert desk.sent == [], "the task service would not know it"


def test_many_jobs_are_cancelled_or_removed_at_once_and_only_those_that_can_be(desk: Desk) -> None:
    desk.hear(job_event, event(JobRunning, 1, "running", attempt=1))
    desk.hear(
        job_event,
        JobFailed(
            job_id="b",
            name="y",
            sequence=1,
            state="failed",
            at=NOW,
            failure_class="user_error",
            reason="exit code 1",
        ),
    )
    cookie, csrf = _signed_in(desk)
    form = {"csrf": csrf, "job": ["a", "b", "a"], "back": "/jobs?state=running"}
    done = desk.call("POST", "/jobs/cancel", data=form, headers=cookie)
    assert (done.status_code, done.headers["location"]) == (303, "/jobs?state=running&said=cancel")
    assert [type(m) for m in desk.sent] == [JobCancel], "the other one has ended"
    assert desk.sent[0].job_id == "a"
    refused = desk.call("POST", "/jobs/remove", data=form, headers=cookie)
    assert refused.status_code == 409
    assert "x is running" in refused.text
    done = desk.call("POST", "/jobs/remove", data=form | {"job": "b"}, headers=cookie)
    assert done.status_code == 303
    assert [m.job_id for m in desk.sent if isinstance(m, JobRemove)] == ["b"]
    for wrong, status in (({"job": []}, 422), ({"job": "none"}, 404), ({"csrf": "x"}, 403)):
        answer = desk.call("POST", "/jobs/cancel", data=form | wrong, headers=cookie)
        assert answer.status_code == status
    assert len(desk.sent) == 2
    assert CALLER.get().role == "admin"


@pytest.mark.parametrize(
    ("address", "status"), [("/nowhere", 404), ("/alerts?severity=odd", 422), ("/login/oidc", 404)]
)
def test_errors_are_pages_for_people_and_json_for_programs(
    desk: Desk, address: str, status: int
) -> None:
    cookie, _ = _signed_in(desk)
    page = desk.call("GET", address, headers=cookie)
    assert page.status_code == status
    assert page.headers["content-type"].startswith("text/html")
    assert page.text.count("<h1>") == 1
    assert 'href="/alerts"' in page.text, "the way on"
    told = desk.call("GET", address, headers=cookie | {"accept": "application/json"})
    assert told.status_code == status
    assert told.json()["faults"]
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_what_is_too_large_or_of_another_site_is_refused_on_a_page(desk: Desk) -> None:
    cookie, csrf = _signed_in(desk)
    large = {"csrf": csrf, "reason": "x" * 40_000}
    answer = desk.call("POST", "/healing/stop", data=large, headers=cookie)
    assert (answer.status_code, "<h1>Too large</h1>" in answer.text) == (413, True)
    foreign = cookie | {"origin": "https://evil.example"}
    answer = desk.call("POST", "/healing/stop", data={"csrf": csrf}, headers=foreign)
    assert (answer.status_code, "<h1>Not allowed</h1>" in answer.text) == (403, True)


def test_a_fault_of_ours_is_a_page_that_tells_nothing_and_reaches_the_log(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie, _ = _signed_in(desk)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(desk.model, "job_counts", broken)
    with pytest.raises(ZeroDivisionError):
        desk.call("GET", "/jobs", headers=cookie)
    desk.transport.raise_app_exceptions = False
    answer = desk.call("GET", "/jobs", headers=cookie)
    assert (answer.status_code, "<h1>Internal error</h1>" in answer.text) == (500, True)
    assert "secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_stranger_sees_the_login_and_no_way_to_pages(desk: Desk) -> None:
    page = desk.call("GET", "/login", headers={"accept": "text/html"}).text
    assert "<h1>Sign in</h1>" in page
    assert "<nav" not in page


@pytest.mark.parametrize(
    ("ttl_s", "ended_h_ago", "warned"),
    [(604_800, 150, True), (604_800, 1, False), (3_600, 0.5, False), (604_800, -1e9, False)],
)
def test_a_job_says_until_when_it_is_kept_and_warns_on_the_last_day(
    desk: Desk, ttl_s: float, ended_h_ago: float, warned: bool
) -> None:
    now = datetime.now(UTC)
    at = datetime.max.replace(tzinfo=UTC) if ended_h_ago < 0 else now - timedelta(hours=ended_h_ago)
    submit = JobSubmit.model_validate(JOB | {"job_id": "a", "ttl_s": ttl_s})
    named = {"job_id": "a", "name": "x", "state": "failed", "sequence": 1, "submit": submit}
    view = JobView.model_validate(named | {"created_at": NOW, "updated_at": at})
    with desk.store.transaction() as records:
        records.put(JOBS, view)
    answer = desk.call("GET", "/api/v1/jobs/a", headers=BEARER).json()
    kept = answer["kept_until"] and datetime.fromisoformat(answer["kept_until"])
    assert kept == (None if ended_h_ago < 0 else at + timedelta(seconds=ttl_s))
    page = desk.call("GET", "/jobs/a", headers=BEARER).text
    assert ("Logs and results kept until" in page) == (kept is not None)
    assert ("Removed in 18 h" in page or "Removed in 17 h" in page) == warned
    assert ("<small>removed in 1" in desk.call("GET", "/jobs", headers=BEARER).text) == warned


def test_a_job_that_runs_says_for_how_long_it_will_be_kept(desk: Desk) -> None:
    desk.hear(job_event, event(JobAccepted, 1, "accepted", submit=JobSubmit.model_validate(JOB)))
    page = desk.call("GET", "/jobs/a", headers=BEARER).text
    assert "after the end; ttl_s sets it" in page
    assert "kept until" not in page
