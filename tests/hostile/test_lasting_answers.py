"""Answers that last end when their caller's rights do, however the caller was identified."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator

import pytest

from services.client import handlers
from services.client.api import lasting
from services.client.logs import Followers, Logs
from shared.contracts import JobRunning, JobSucceeded
from shared.roles import Role
from tests.unit.client.test_api import Desk, event
from tests.unit.client.test_roles import _ROOT, _bearer
from tests.waiting import eventually

Begun = tuple[dict[str, str], Callable[[], object]]
"""The headers of somebody who is signed in, and how their rights end."""


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(lasting, "LOOKED_AFTER_S", 0.0)
    made = Desk(api_token="root")
    made.hear(handlers.job_event, event(JobRunning, 1, "running", attempt=1))
    yield made
    made.store.close()


def by_token(desk: Desk) -> Begun:
    headers = _bearer(desk, "Eve", Role.VIEWER, projects=["*"])
    (token,) = desk.call("GET", "/api/v1/tokens", headers=_ROOT).json()
    return headers, lambda: desk.app.state.client.tokens.revoke(token["id"])


def by_session(desk: Desk) -> Begun:
    headers = _bearer(desk, "Eve", Role.VIEWER, projects=["*"])
    entered = desk.call("POST", "/login", data={"token": headers["authorization"].split()[1]})
    cookie = "; ".join(re.findall(r"(barograph_session_\w+=[^;]+)", str(entered.headers)))
    (token,) = desk.call("GET", "/api/v1/tokens", headers=_ROOT).json()
    return {"cookie": cookie}, lambda: desk.app.state.client.tokens.revoke(token["id"])


def by_sign_out(desk: Desk) -> Begun:
    entered = desk.call("POST", "/login", data={"token": "root", "name": "Ann"})
    cookie = "; ".join(re.findall(r"(barograph_session_\w+=[^;]+)", str(entered.headers)))
    session = desk.app.state.client.callers._session(cookie.partition("=")[2])
    return {"cookie": cookie}, lambda: desk.model.end_session(session)


@pytest.mark.parametrize("begun", [by_token, by_session, by_sign_out])
def test_a_followed_log_ends_with_the_rights_of_who_follows_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, begun: Callable[[Desk], Begun]
) -> None:
    headers, end = begun(desk)
    turns = iter(range(100))

    async def wait(_self: Followers, _timeout_s: float) -> None:
        turn = next(turns, None)
        assert turn is not None, "it is followed for ever"
        if turn == 5:
            end()

    monkeypatch.setattr(Followers, "wait", wait)
    answer = desk.call("GET", "/api/v1/jobs/a/logs/follow", headers=headers)
    assert answer.status_code == 200
    assert "event: state" in answer.text
    assert "event: end" not in answer.text
    assert next(turns) < 10
    assert desk.call("GET", "/api/v1/jobs/a/logs", headers=headers).status_code == 401

    def given_back() -> bool:
        gc.collect()  # whose generator was left in the middle, Python closes when it collects it
        return not desk.app.state.client.followed

    eventually(given_back, "what was held for it is given back")


def test_a_followed_log_goes_on_while_the_rights_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, _ = by_token(desk)

    turns = iter(range(20))

    async def wait(_self: Followers, _timeout_s: float) -> None:
        if next(turns, None) is None:
            desk.hear(handlers.job_event, event(JobSucceeded, 2, "succeeded", artifacts=()))

    monkeypatch.setattr(Followers, "wait", wait)
    assert "event: end" in desk.call("GET", "/api/v1/jobs/a/logs/follow", headers=headers).text


def test_a_download_ends_with_the_rights_of_who_downloads(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, end = by_token(desk)
    for number in range(50):
        desk.objects.put("barograph", f"jobs/a/logs/worker-0/1/{number:08d}.log", b"secret\n")
    read, given = Logs.read, []

    def reading(*arguments: object) -> Iterator[bytes]:
        for piece in read(*arguments):
            given.append(piece)
            if len(given) == 5:
                end()
            yield piece

    monkeypatch.setattr(Logs, "read", reading)
    with pytest.raises(AssertionError):  # so httpx says that an answer broke off
        desk.call("GET", "/api/v1/jobs/a/logs", headers=headers)
    assert 5 <= len(given) < 10
