"""Sessions on the pages: a signed cookie with the person's name and an expiry.

Every replica knows them by the API token, and a new one ends all of them. Kept is only which of
them somebody has left before their time, lest a copy of the cookie goes on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from services.client.projects import ALL, Projects
from shared.roles import Role
from shared.service.http import same

BROWSER_KNOWN_S = 366 * 86_400
"""The time for which a browser counts by itself."""
LASTS_S = 12 * 3600
"""The time after signing in at which a session ends."""
_FAILURES, _WITHIN_S, _MAX_ADDRESSES = 10, 60.0, 10_000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Session:
    """The session of a signed-in person; their forms carry ``csrf``."""

    id: str
    name: str
    until: float
    csrf: str
    token_id: str = ""
    """The id of the named token it was begun with; '' for the API token."""
    role: Role = Role.ADMIN
    projects: Projects = ALL
    groups: tuple[str, ...] | None = None
    """The groups of a person named by an identity provider or a proxy; None for a token."""
    lasts: bool = True
    """True if it is kept in a cookie; a proxy names its people with each request."""

    def may(self, role: str) -> bool:
        """Return whether this person may do what a role is needed for."""
        return self.role.allows(Role(role))


CURRENT: ContextVar[Session | None] = ContextVar("session", default=None)
"""The session of the request in hand; None for programs, and where no token is asked for."""


class Sessions:
    """Creates and reads session cookies."""

    def __init__(
        self, token: str, clock: Callable[[], float] = time.time, lasts_s: float = LASTS_S
    ) -> None:
        self.lasts_s = lasts_s
        self._key = hashlib.sha256(b"barograph session\0" + token.encode()).digest()
        self._usable = bool(token)
        self._clock = clock

    def cookie_name(self, purpose: str) -> str:
        """The name of a cookie: browsers send those of one host to each port of it.

        So another installation there, which has another token, must not overwrite ours.
        """
        return f"barograph_{purpose}_{self._signed('name', purpose)[:8]}"

    def begin(self, name: str, token_id: str = "", groups: tuple[str, ...] | None = None) -> str:
        """The cookie of a new session."""
        until, own = self._clock() + self.lasts_s, secrets.token_hex(8)
        return self.seal("cookie", [name[:_LONGEST_NAME], until, own, token_id, groups])

    def seal(self, purpose: str, content: list[Any]) -> str:
        """A signed cookie."""
        body = json.dumps(content).encode().hex()
        return f"{body}.{self._signed(purpose, body)}"

    def unseal(self, purpose: str, cookie: str) -> list[Any] | None:
        """The value that was sealed for this purpose; None for anything else."""
        body, _, signature = cookie.partition(".")
        if not self._usable or not same(signature, self._signed(purpose, body)):
            return None
        found: list[Any] = json.loads(bytes.fromhex(body))
        return found

    def of_proxy(self, name: str, groups: tuple[str, ...]) -> Session:
        """The session of somebody whom a proxy names; its forms are of this name alone."""
        until = self._clock() + self.lasts_s
        csrf = self._signed("proxied form", name)
        return Session("", name, until, csrf, groups=groups, lasts=False)

    def read(self, cookie: str) -> Session | None:
        """The session, None for one that has ended or was never begun."""
        found = self.unseal("cookie", cookie)
        if found is None:
            return None
        # An earlier version kept no groups.
        name, until, own, token_id, groups = [*found, None][:5]
        if self._clock() >= until:
            return None
        csrf = self._signed("form", cookie.partition(".")[0])
        kept = None if groups is None else tuple(groups)
        return Session(own, name, until, csrf, token_id, groups=kept)

    def begin_browser(self) -> str:
        """A cookie for a browser from which somebody has signed in."""
        own = secrets.token_hex(16)
        return f"{own}.{self._signed('browser', own)}"

    def read_browser(self, cookie: str) -> str | None:
        """The browser's id; None for one from which nobody has signed in yet."""
        own, _, signature = cookie.partition(".")
        good = self._usable and same(signature, self._signed("browser", own))
        return own if good else None

    def _signed(self, purpose: str, body: str) -> str:
        signed = f"{purpose}\0{body}".encode(errors="replace")
        return hmac.new(self._key, signed, hashlib.sha256).hexdigest()


class Attempts:
    """Failed attempts to sign in, of each browser or address: ten a minute and no more.

    Many share an address, behind a proxy. So a browser from which somebody has signed in before is
    counted by itself: whoever guesses beside it does not keep it out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._clock = clock

    def too_many(self, address: str) -> bool:
        """Return whether this address has to wait."""
        since = self._clock() - _WITHIN_S
        return sum(at > since for at in self._failures.get(address, ())) >= _FAILURES

    def failed(self, address: str) -> None:
        """Note a failure; of too many addresses the oldest are forgotten."""
        kept = self._failures.pop(address, [])[1 - _FAILURES :]
        self._failures[address] = [*kept, self._clock()]
        while len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
