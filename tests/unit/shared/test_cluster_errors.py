"""Tests of which error an answer of the API server becomes."""

from __future__ import annotations

import pytest

from shared.cluster.cluster import _checked
from shared.cluster.errors import (
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    error_of,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ClusterError),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (422, Invalid),
        (429, ClusterUnavailable),
        (500, ClusterUnavailable),
        (503, ClusterUnavailable),
    ],
)
def test_the_class_says_what_to_do(status: int, kind: type[ClusterError]) -> None:
    error = error_of("GET /x", status, {"message": "why"})
    assert type(error) is kind
    assert str(error) == "GET /x: why"
    assert error.status == status


def test_an_answer_without_words_is_told_by_its_status() -> None:
    assert str(error_of("GET /x", 404, {})) == "GET /x: Not Found"


@pytest.mark.parametrize("status", [419, 520, 599])
def test_a_status_that_only_a_proxy_knows_is_told_by_its_number(status: int) -> None:
    error = error_of("GET /x", status, {})
    assert str(error) == f"GET /x: status {status}"
    assert isinstance(error, ClusterUnavailable) == (status >= 500)


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("data", [b"[]", b'"ok"', b"1", b"<html>"])
def test_what_is_no_answer_of_an_api_server_is_asked_for_again(status: int, data: bytes) -> None:
    with pytest.raises(ClusterUnavailable):
        _checked("GET /x", status, data)


def test_every_fault_of_an_invalid_object_is_named() -> None:
    causes = [
        {"field": "spec.completions", "message": "must not be negative"},
        {"message": "and this"},
    ]
    error = error_of("POST /x", 422, {"details": {"causes": causes}})
    assert error.causes == (("spec.completions", "must not be negative"), ("", "and this"))
