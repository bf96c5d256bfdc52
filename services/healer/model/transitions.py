"""The transitions of an incident's phase and an action's state; there are no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import wraps
from typing import ParamSpec, TypeVar

from shared.contracts.healing import ActionState


class Phase(StrEnum):
    """The phases of handling an incident."""

    EVIDENCE = "evidence"
    """Evidence was requested; a notification follows, with or without it."""
    ACTING = "acting"
    """A remediation was ordered."""
    SETTLING = "settling"
    """The remediation was executed; the item will be read again."""
    UNDOING = "undoing"
    """The remediation did not help, and its undoing was ordered."""
    READING = "reading"
    """A reading of the item was requested."""
    WAITING = "waiting"
    """Nothing is done until the alarm ends or becomes more severe."""
    CLOSED = "closed"


P, A = Phase, ActionState
_TO_A_PERSON = frozenset({P.EVIDENCE, P.WAITING, P.CLOSED})
"""A person is notified, with or without evidence, unless the alarm has ended."""

PHASES: Mapping[Phase, frozenset[Phase]] = {
    P.WAITING: frozenset({P.WAITING, P.EVIDENCE, P.ACTING, P.CLOSED}),
    P.EVIDENCE: frozenset({P.EVIDENCE, P.WAITING, P.ACTING, P.CLOSED}),
    P.ACTING: frozenset({P.SETTLING} | _TO_A_PERSON),
    P.SETTLING: frozenset({P.READING}),
    P.READING: frozenset({P.UNDOING} | _TO_A_PERSON),
    P.UNDOING: _TO_A_PERSON,
    P.CLOSED: frozenset(),
}
STATES: Mapping[ActionState, frozenset[ActionState]] = {
    A.PROPOSED: frozenset({A.PROPOSED, A.RUNNING, A.REFUSED, A.EXPIRED, A.WITHDRAWN}),
    A.RUNNING: frozenset({A.VERIFYING, A.FAILED}),
    A.VERIFYING: frozenset({A.VERIFIED, A.UNDOING, A.FAILED}),
    A.UNDOING: frozenset({A.UNDONE, A.FAILED}),
    A.VERIFIED: frozenset(),
    A.FAILED: frozenset(),
    A.UNDONE: frozenset(),
    A.REFUSED: frozenset(),
    A.EXPIRED: frozenset(),
    A.WITHDRAWN: frozenset(),
}
S = TypeVar("S", bound=StrEnum)


class TransitionError(Exception):
    """The table does not allow this transition: a bug, never a user's error."""


def checked(table: Mapping[S, frozenset[S]], about: str, before: S, after: S) -> S:
    """``after``, if the table allows it.

    Raises:
        TransitionError: it does not.
    """
    if after not in table[before]:
        raise TransitionError(f"{about}: {before} -> {after}")
    return after


def diagram(table: Mapping[S, frozenset[S]], first: S) -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    for before, allowed in table.items():
        lines += [f"    {before} --> {after}" for after in table if after in allowed]
        lines += [f"    {before} --> [*]"] * (not allowed)
    return "\n".join(lines) + "\n"


Arguments = ParamSpec("Arguments")
T = TypeVar("T")


def collected(function: Callable[Arguments, Iterator[T]]) -> Callable[Arguments, list[T]]:
    """Turn a generator into a function that has done all its work when it returns.

    What stores records must not depend on whether, and how far, somebody iterates its messages.
    """

    @wraps(function)
    def eager(*args: Arguments.args, **kwargs: Arguments.kwargs) -> list[T]:
        return list(function(*args, **kwargs))

    return eager
