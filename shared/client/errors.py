"""Errors for requests that Barograph did not carry out, with every fault that it named."""

from __future__ import annotations

from collections.abc import Sequence

from shared.contracts import Fault


class ClientError(Exception):
    """Something was not done; its text has every fault on a line of its own."""

    def __init__(self, text: str = "", faults: Sequence[Fault] = ()) -> None:
        lines = [f"{each.field}: {each.problem}".removeprefix(": ") for each in faults]
        super().__init__(text or "\n".join(lines))
        self.faults = tuple(faults) or (Fault(field="", problem=text),)


class UnreachableError(ClientError):
    """Nobody answers, or a server that Barograph needs does not answer it; later it may."""


class BadInputError(ClientError):
    """The input is no job, no silence, no package; asking again changes nothing."""


class RefusedError(ClientError):
    """It is well formed and not allowed: a right, a quota, or what is there already."""


class NotFoundError(ClientError):
    """There is no such job, file, alert or silence."""


class NotEndedError(ClientError):
    """The job has not ended within the time that was waited for."""
