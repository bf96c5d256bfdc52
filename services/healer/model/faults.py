"""Errors of validation as whoever sent the values reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.contracts import Fault


def faults_of(errors: Iterable[Mapping[str, Any]], *above: object) -> list[Fault]:
    """Every error as a fault of its field.

    Of a list whose items were refused it is also said that it is too short: that is left out,
    because it is not what the sender did wrong.

    Args:
        errors: of a ``ValidationError``.
        above: where the validated value itself stands in what was sent.
    """
    found = [((*above, *error["loc"]), error) for error in errors]
    places = [place for place, _ in found]
    return [
        Fault(
            field=".".join(map(str, place)),
            problem=str(error["msg"]).removeprefix("Value error, "),
        )
        for place, error in found
        if not (
            error["type"] == "too_short"
            and any(len(other) > len(place) and other[: len(place)] == place for other in places)
        )
    ]
