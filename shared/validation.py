"""Formats pydantic's errors for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def problem_of(error: Mapping[str, Any]) -> str:
    """The fault in words, without pydantic's prefix that names the kind of check."""
    return str(error["msg"]).removeprefix("Value error, ")


def told_once(errors: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The errors without those that only follow from others.

    Of a list whose items were refused it is also said that it is too short: that is not what the
    sender did wrong.
    """
    found = list(errors)
    places = [tuple(error["loc"]) for error in found]
    return [
        error
        for place, error in zip(places, found, strict=True)
        if error["type"] != "too_short"
        or not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]
