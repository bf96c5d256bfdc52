"""Errors for requests that Barograph did not carry out, with every fault that it named."""

from __future__ import annotations

from collections.abc import Sequence

from shared.contracts import Fault


class ClientError(Exception):
    """The request was not carried out; the text has one fault per line."""

    def __init__(self, text: str = "", faults: Sequence[Fault] = ()) -> None:
        lines = [f"{each.field}: {each.problem}".removeprefix(": ") for each in faults]
        super().__init__(text or "\n".join(lines))
        self.faults = tuple(faults) or (Fault(field="", problem=text),)


class UnreachableError(ClientError):
    """Barograph, or a server that it needs, does not answer; a later attempt may succeed."""


class BadInputError(ClientError):
    """The input is not a valid job, silence or package; repeating it changes nothing."""


class RefusedError(ClientError):
    """The request is valid but not allowed: a permission, a quota, or an existing object."""


class NotFoundError(ClientError):
    """There is no such job, file, alert or silence."""


class NotEndedError(ClientError):
    """The job has not ended within the time that was waited for."""
