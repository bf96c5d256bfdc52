"""Roles: every route has one, and nobody does what another role is needed for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.client.access import ROLES, Access, Unlisted
from services.client.records import TOKENS
from services.client.tokens import Tokens
from shared.roles import Role
from shared.service import bodies
from tests.unit.client.test_api import Desk

_TABLE = sorted(ROLES.items(), key=str)
_ROOT = {"authorization": "Bearer root"}


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    made = Desk(api_token="root")
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def bearers(desk: Desk) -> dict[Role, dict[str, str]]:
    return {role: _bearer(desk, role.value, role) for role in Role}


def _bearer(desk: Desk, name: str, role: Role, **more: Any) -> dict[str, str]:
    asked = {"name": name, "role": role, **more}
    made = desk.call("POST", "/api/v1/tokens", json=asked, headers=_ROOT)
    assert made.status_code == 201, made.text
    return {"authorization": f"Bearer {made.json()['token']}"}


def _path(template: str) -> str:
    return re.sub(r"\{[^}]+\}", "1f", template)


def test_the_api_document_has_no_route_without_a_role(desk: Desk) -> None:
    document = desk.call("GET", "/api/v1/openapi.json", headers=_ROOT).json()
    routes = {
        (method.upper(), path.replace("{path}", "{path:path}"))
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert len(routes) > 20
    assert not routes - ROLES.keys()
    assert not [route for route in routes if ROLES[route] is None], "none of the API is open"


def test_an_application_with_a_route_that_has_no_role_is_not_made() -> None:
    with pytest.raises(Unlisted, match="POST /api/v1/new"):
        Access([*ROLES, ("POST", "/api/v1/new")])


@pytest.mark.parametrize("role", Role)
def test_every_route_is_refused_to_whose_role_is_too_low_before_its_body_is_read(
    desk: Desk, bearers: dict[Role, dict[str, str]], role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    async def reading(*_: object) -> bytes:
        read.append("a body")
        return b"{}"

    monkeypatch.setattr(bodies, "read", reading)
    for (method, template), needed in _TABLE:
        read.clear()
        answer = desk.call(method, _path(template), headers=bearers[role], content=b"{")
        too_low = needed is not None and not role.allows(needed)
        told = "this needs the role" in answer.text
        assert (answer.status_code == 403 and told) == too_low, (method, template)
        assert not (too_low and read), (method, template)


def test_nobody_without_a_token_passes_any_route_but_the_login(desk: Desk) -> None:
    for (method, template), needed in _TABLE:
        if method == "POST" and template == "/login":
            continue
        answer = desk.call(method, _path(template))
        assert (answer.status_code == 401) == (needed is not None), (method, template)
    assert desk.call("GET", "/nowhere").status_code == 401


@pytest.mark.parametrize(
    "presented", ["", "x", "barograph_", "barograph_00_11", "barograph_../x_y", "barograph_é_é"]
)
def test_what_is_no_token_is_nobodys(desk: Desk, presented: str) -> None:
    headers = {"authorization": f"Bearer {presented}".encode()}
    assert desk.call("GET", "/api/v1/jobs", headers=headers).status_code == 401


def test_a_token_is_kept_as_a_digest_and_ends_when_it_is_revoked(desk: Desk) -> None:
    bearer = _bearer(desk, "ci", Role.SUBMITTER)
    assert desk.call("GET", "/api/v1/jobs", headers=bearer).status_code == 200
    (kept,) = [token for token in Tokens(desk.model.store).all() if token.name == "ci"]
    secret = bearer["authorization"].partition(f"{kept.id}_")[2]  # it may have "_" of its own
    assert len(secret) > 40
    assert secret not in kept.model_dump_json()
    listed = desk.call("GET", "/api/v1/tokens", headers=_ROOT).text
    assert secret not in listed
    assert kept.digest not in listed
    again = {"name": "ci", "role": "admin"}
    assert desk.call("POST", "/api/v1/tokens", json=again, headers=_ROOT).status_code == 409
    gone = desk.call("DELETE", f"/api/v1/tokens/{kept.id}", headers=_ROOT)
    assert gone.status_code == 204
    assert desk.call("GET", "/api/v1/jobs", headers=bearer).status_code == 401


@pytest.mark.parametrize(
    "name",
    [
        "Night-Shift",
        "night-shift ",
        "night‐shift",
        "\uff4eight-shift",
        "the User",
        "the\nholder of the  token",
    ],
)
def test_no_token_has_a_name_that_reads_like_somebody_elses(desk: Desk, name: str) -> None:
    taken = [token.name for token in Tokens(desk.model.store).all()]
    if "night-shift" not in taken:
        _bearer(desk, "night-shift", Role.VIEWER)
    asked = {"name": name, "role": "viewer"}
    refused = desk.call("POST", "/api/v1/tokens", json=asked, headers=_ROOT)
    assert refused.status_code == 409
    assert refused.json()["faults"][0]["field"] == "name"


def test_an_expired_token_opens_nothing_and_its_name_is_free_again(desk: Desk) -> None:
    bearer = _bearer(desk, "old", Role.ADMIN)
    with desk.store.transaction() as records:
        (kept,) = [token for token in records.find(TOKENS) if token.name == "old"]
        over = datetime.now(UTC) - timedelta(seconds=1)
        records.put(TOKENS, kept.model_copy(update={"expires_at": over, "created_at": over}))
    assert desk.call("GET", "/api/v1/jobs", headers=bearer).status_code == 401
    _bearer(desk, "old", Role.VIEWER)


def _enter(desk: Desk, token: str, name: str) -> dict[str, str]:
    entered = desk.call("POST", "/login", data={"token": token, "name": name})
    assert entered.status_code == 303, entered.text
    return {"cookie": entered.headers["set-cookie"].partition(";")[0], "accept": "text/html"}


def test_who_signs_in_with_a_named_token_has_its_name_and_role(desk: Desk) -> None:
    token = _bearer(desk, "Vera", Role.VIEWER)["authorization"].removeprefix("Bearer ")
    session = _enter(desk, token, "root")
    page = desk.call("GET", "/alerts", headers=session).text
    assert "Signed in as <bdi>Vera</bdi> (viewer)" in page
    assert "/alerts/acknowledge" not in page
    csrf = re.search(r'name="csrf" value="(\w+)"', page)
    assert csrf
    form = {"csrf": csrf[1], "alert": "x"}
    refused = desk.call("POST", "/alerts/acknowledge", headers=session, data=form)
    assert refused.status_code == 403
    assert "This needs the role operator; Vera is viewer" in refused.text
    (kept,) = [each for each in Tokens(desk.model.store).all() if each.name == "Vera"]
    Tokens(desk.model.store).revoke(kept.id)
    assert desk.call("GET", "/alerts", headers=session).headers["location"] == "/login"


def test_a_job_is_cancelled_in_its_callers_name(desk: Desk) -> None:
    bearer = _bearer(desk, "Sam", Role.SUBMITTER)
    job = {"job_id": "a", "name": "x", "main": "a.py", "package": "barograph:packages:x.tar.gz"}
    assert desk.call("POST", "/api/v1/jobs", json=job, headers=bearer).status_code == 202
    desk.call("POST", "/api/v1/jobs/a/cancel", headers=bearer)
    assert desk.sent[-1].reason == "cancelled by Sam"


def test_without_an_api_token_there_are_no_named_ones() -> None:
    desk = Desk()
    refused = desk.call("POST", "/api/v1/tokens", json={"name": "x"})
    assert refused.status_code == 409
    assert desk.call("GET", "/api/v1/jobs").status_code == 200
    desk.store.close()
