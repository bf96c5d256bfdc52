"""Exit codes of ``tshell`` for every kind of failure."""

from __future__ import annotations

from enum import IntEnum

from shared.terminal import OutputLostError


class Code(IntEnum):
    """Exit codes of ``tshell``; documented in its help."""

    OK = 0
    JOB_FAILED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    REFUSED = 4
    NOT_FOUND = 5


class Stop(Exception):
    """End with this code and text."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def code_of(error: Exception) -> Code | None:
    """The exit code of an exception that a command may end with; None for any other."""
    # Imported when a command has failed: the help is instant.
    from shared.client import errors

    if isinstance(error, Stop):
        return error.code
    if isinstance(error, OutputLostError):
        return Code.BAD_INPUT
    codes = {
        errors.BadInputError: Code.BAD_INPUT,
        errors.UnreachableError: Code.UNREACHABLE,
        errors.NotEndedError: Code.UNREACHABLE,
        errors.RefusedError: Code.REFUSED,
        errors.NotFoundError: Code.NOT_FOUND,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), None)
