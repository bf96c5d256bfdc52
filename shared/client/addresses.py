"""The addresses of Barograph's APIs, from the environment or from this machine's stack."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from shared.client.errors import UnreachableError
from shared.embedded.process import EmbeddedError
from shared.embedded.stackfile import StackFile, read_stack_file
from shared.embedded.state import default_state


@dataclass(frozen=True)
class Address:
    """The address of an API and its token, without the spaces and line ends around them.

    Files, shells of Windows and Secrets add those, and no address or token has any.
    """

    url: str
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        scheme, found, rest = self.url.strip().partition("://")
        object.__setattr__(self, "url", f"{scheme.lower()}{found}{rest}".rstrip("/"))
        object.__setattr__(self, "token", self.token.strip())


def of_jobs(url: str = "", token: str = "", state: Path | None = None) -> Address:
    """The client service's: given, or BAROGRAPH_URL with BAROGRAPH_TOKEN, or the stack's.

    A stack's token goes to that stack alone.

    Raises:
        UnreachableError: where nothing is named and no stack is known here.
    """
    url = url or os.environ.get("BAROGRAPH_URL", "")
    token = token or os.environ.get("BAROGRAPH_TOKEN", "")
    given = Address(url, token)
    if given.url and given.token:
        return given
    stack = _stack(state, "BAROGRAPH_URL", needed=not given.url)
    if stack is None or (given.url and given.url != stack.client_url):
        return given
    return Address(stack.client_url, given.token or stack.client_token)


def of_alerts(url: str = "", token: str = "", state: Path | None = None) -> Address:
    """The healer's: given, or BAROGRAPH_HEALER_URL with BAROGRAPH_HEALER_TOKEN, or the stack's.

    Raises:
        UnreachableError: where nothing is named and no stack is known here.
    """
    url = url or os.environ.get("BAROGRAPH_HEALER_URL", "")
    token = token or os.environ.get("BAROGRAPH_HEALER_TOKEN", "")
    given = Address(url, token)
    if given.url:
        return given
    stack = _stack(state, "BAROGRAPH_HEALER_URL", needed=True)
    return Address(stack.healer_url, given.token or stack.healer_token) if stack else Address("")


def _stack(state: Path | None, variable: str, *, needed: bool) -> StackFile | None:
    try:
        return read_stack_file(default_state() if state is None else state)
    except EmbeddedError as error:
        if not needed:
            return None
        text = f"{error}; or set {variable} to the address of another one"
        raise UnreachableError(text) from None
