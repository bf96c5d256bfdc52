"""Validation errors in words for the sender of the values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.contracts import Fault
from shared.validation import problem_of, told_once


def faults_of(errors: Iterable[Mapping[str, Any]], *above: object) -> list[Fault]:
    """Every error as a fault of its field.

    Args:
        errors: of a ``ValidationError``.
        above: where the validated value itself is in what was sent.
    """
    return [
        Fault(
            field=".".join(map(str, (*above, *error["loc"]))),
            problem=problem_of(error),
        )
        for error in told_once(errors)
    ]
