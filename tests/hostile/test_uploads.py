"""Whoever uploads can neither spoil another's upload nor replace a package, nor fill the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.client.api import uploads
from services.client.api.uploads import Uploads
from services.client.records import Upload
from services.client.settings import ClientSettings
from shared.storage import AccessDenied
from tests.unit.client.test_api import Desk

GOOD = b"the victim's package"
SHA = hashlib.sha256(GOOD).hexdigest()
KEY = f"packages/{SHA}.tar.gz"


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.store.close()


def begin(desk: Desk, **changes: object) -> Any:
    asked = {"sha256": SHA, "size": len(GOOD)} | changes
    return desk.call("POST", "/api/v1/uploads", json=asked)


def finish(desk: Desk, upload: dict[str, Any]) -> Any:
    done = {"sha256": SHA, "upload_id": upload["upload_id"]}
    return desk.call("POST", "/api/v1/uploads/finish", json=done)


def test_who_begins_the_same_digest_gets_an_upload_of_their_own(desk: Desk) -> None:
    victim, attacker = begin(desk).json(), begin(desk).json()
    assert victim["upload_id"] != attacker["upload_id"]
    assert not {*victim["parts"]} & {*attacker["parts"]}
    desk.objects.accept(attacker["parts"][0], b"E" * len(GOOD))
    assert finish(desk, attacker).status_code == 422
    desk.objects.accept(victim["parts"][0], GOOD)
    assert finish(desk, victim).json()["exists"]
    assert desk.objects.get("barograph", KEY) == GOOD


def test_a_finished_package_is_never_replaced_nor_removed(desk: Desk) -> None:
    attacker, victim = begin(desk).json(), begin(desk).json()
    desk.objects.accept(victim["parts"][0], GOOD)
    finish(desk, victim)
    desk.objects.accept(attacker["parts"][0], b"E" * len(GOOD))
    for _twice in range(2):
        finish(desk, attacker)
        assert desk.objects.get("barograph", KEY) == GOOD
    assert [o.key for o in desk.objects.list("barograph", "")] == [KEY]
    assert begin(desk).json()["exists"]


@pytest.mark.parametrize("put", [b"", b"short", GOOD + b"!", b"E" * 30 * 2**20])
def test_what_has_another_size_than_said_is_not_even_read(desk: Desk, put: bytes) -> None:
    begun = begin(desk).json()
    if put:
        desk.objects.accept(begun["parts"][0], put)
    assert finish(desk, begun).status_code == 409
    desk.objects.accept(begun["parts"][0], GOOD)
    assert finish(desk, begun).status_code == 200


def test_only_who_knows_an_upload_continues_it(desk: Desk) -> None:
    begun = begin(desk).json()
    desk.objects.accept(begun["parts"][0], GOOD)
    again = begin(desk, upload_id=begun["upload_id"]).json()
    assert (again["upload_id"], again["done"]) == (begun["upload_id"], [1])
    for wrong in ({"upload_id": "0" * 32}, {"upload_id": begun["upload_id"], "size": 5}):
        other = begin(desk, **wrong).json()
        assert (other["upload_id"] != begun["upload_id"], other["done"]) == (True, [])
    assert begin(desk, upload_id="../x").status_code == 422


def test_what_is_not_finished_in_time_is_removed(desk: Desk) -> None:
    begun = begin(desk).json()
    desk.objects.accept(begun["parts"][0], GOOD)
    own = Uploads(desk.objects, desk.model, ClientSettings())
    own.give_up_overdue(datetime.now(UTC) + timedelta(hours=23))
    assert begin(desk, upload_id=begun["upload_id"]).json()["done"] == [1]
    own.give_up_overdue(datetime.now(UTC) + timedelta(hours=25))
    assert finish(desk, begun).status_code == 404
    assert list(desk.objects.list("barograph", "")) == []


def test_unfinished_uploads_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_MAX_UNFINISHED", 3)
    kept = [begin(desk).json() for _ in range(3)]
    assert begin(desk).status_code == 429
    assert begin(desk, upload_id=kept[0]["upload_id"]).status_code == 200
    desk.objects.accept(kept[0]["parts"][0], GOOD)
    assert finish(desk, kept[0]).status_code == 200


def test_unfinished_uploads_of_one_project_refuse_those_of_no_other(desk: Desk) -> None:
    at = datetime.now(UTC)
    for number in range(3):
        upload = Upload(id=f"{number}", sha256=SHA, size=1, begun_at=at, project="noisy")
        assert desk.model.begin(upload, 3)
    assert not desk.model.begin(upload.model_copy(update={"id": "more"}), 3)
    assert desk.model.begin(upload.model_copy(update={"id": "other", "project": "quiet"}), 3)


def test_an_upload_that_the_store_does_not_give_up_costs_itself_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = (begin(desk).json()["upload_id"] for _ in range(2))
    abort = desk.objects.abort_upload

    def refuses(bucket: str, key: str) -> None:
        if bad in key:
            raise AccessDenied(key)
        abort(bucket, key)

    monkeypatch.setattr(desk.objects, "abort_upload", refuses)
    later = datetime.now(UTC) + timedelta(hours=25)
    Uploads(desk.objects, desk.model, ClientSettings()).give_up_overdue(later)
    assert [each.id for each in desk.model.overdue_uploads(later)] == [bad]
    assert good != bad


def test_an_answer_that_was_lost_is_given_again(desk: Desk) -> None:
    begun = begin(desk).json()
    desk.objects.accept(begun["parts"][0], GOOD)
    assert finish(desk, begun).json() == finish(desk, begun).json()
