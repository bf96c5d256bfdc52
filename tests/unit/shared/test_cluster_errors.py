"""Which error an answer of the API server becomes."""

from __future__ import annotations

import pytest

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


def test_every_fault_of_an_invalid_object_is_named() -> None:
    causes = [
        {"field": "spec.completions", "message": "must not be negative"},
        {"message": "and this"},
    ]
    error = error_of("POST /x", 422, {"details": {"causes": causes}})
    assert error.causes == (("spec.completions", "must not be negative"), ("", "and this"))
