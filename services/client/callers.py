"""Identifies callers: holders of tokens, people who signed in, people named by a proxy."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from starlette.datastructures import Headers

from services.client.access import NOBODY, UNNAMED, Caller
from services.client.groups import Person, named, rights_of
from services.client.model import ReadModel
from services.client.oidc import FLOW_S, Flow
from services.client.projects import ALL
from services.client.proxy import TrustedProxy
from services.client.sessions import Session, Sessions
from services.client.settings import ClientSettings
from services.client.spelling import is_reserved
from services.client.tokens import Tokens, caller_of
from shared.roles import Role
from shared.service.http import same

_LONGEST_COOKIE = 3_500
"""Browsers store 4,096 characters of a cookie, including its name and attributes."""


class NoRights(Exception):
    """A person is identified but has no rights here."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is of no group that has rights here; ask an admin")


@dataclass(frozen=True)
class Presented:
    """The credentials that a request carries."""

    authorization: str
    cookie: str
    peer: str
    """The address of the connection, whatever a header says."""
    headers: Headers


class Callers:
    """Identifies callers by their credentials; reads the store, so not in the event loop."""

    def __init__(self, settings: ClientSettings, model: ReadModel, tokens: Tokens) -> None:
        self._token = settings.api_token.get_secret_value()
        self._sessions = Sessions(self._token, lasts_s=settings.session_s)
        self._model = model
        self._tokens = tokens
        self._groups = settings.groups
        self._proxy = TrustedProxy(settings)

    def of(self, presented: Presented) -> tuple[Caller | None, Session | None]:
        """The caller, None for an unknown one; and the session of somebody signed in at the pages.

        Raises:
            NoRights: for a person named by a proxy whose groups have no rights.
            AmbiguousHeaderError: if a proxy's header cannot be trusted.
        """
        if not self._token:
            return NOBODY, None
        session = self._session(presented.cookie) if presented.cookie else None
        scheme, _, given = presented.authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._bearer(given), session
        if person := self._proxy.person(presented.peer, presented.headers):
            session = self._with_rights(self._sessions.of_proxy(person.name, person.groups))
            if session is None:
                raise NoRights(person.name)
        if session is None:
            return None, None
        return Caller(session.name, session.role, session.projects), session

    def _bearer(self, given: str) -> Caller | None:
        if same(given, self._token):
            return Caller(UNNAMED, Role.ADMIN, ALL)
        found = self._tokens.caller(given, datetime.now(UTC))
        return found[1] if found else None

    @property
    def session_s(self) -> int:
        """Return how long a session lasts."""
        return int(self._sessions.lasts_s)

    def cookie_name(self, purpose: str) -> str:
        """The name of this installation's cookie for a purpose."""
        return self._sessions.cookie_name(purpose)

    def begin(self, presented: str, name: str) -> str | None:
        """The cookie of a new session; the holder of a named token has the token's name only."""
        if not self._token:
            return None
        if same(presented, self._token):
            return self._sessions.begin(name or UNNAMED)
        found = self._tokens.caller(presented, datetime.now(UTC))
        return self._sessions.begin(found[0].name, found[0].id) if found else None

    def begin_person(self, person: Person) -> str:
        """The cookie of a new session of a person named by an identity provider.

        Raises:
            NoRights: when none of their groups has any here.
        """
        kept = named(person.groups, self._groups)
        cookie = self._sessions.begin(person.name, groups=kept)
        if is_reserved(person.name) or rights_of(kept, self._groups) is None:
            raise NoRights(person.name)
        if len(cookie) > _LONGEST_COOKIE:
            raise NoRights(f"{person.name}, who is of more groups than a cookie holds,")
        return cookie

    def begin_flow(self) -> tuple[Flow, str]:
        """A new sign-in at the identity provider, and the cookie that identifies it."""
        flow = Flow.new()
        content = [flow.state, flow.nonce, flow.verifier, time.time() + FLOW_S]
        return flow, self._sessions.seal("oidc", content)

    def read_flow(self, cookie: str) -> Flow | None:
        """The sign-in that this browser has begun; None if there is none, or it has expired."""
        found = self._sessions.unseal("oidc", cookie)
        if found is None or time.time() >= found[3]:
            return None
        return Flow(*found[:3])

    def browser(self, cookie: str) -> str | None:
        """The browser that asks to sign in; None for one from which nobody has signed in yet."""
        return self._sessions.read_browser(cookie)

    def begin_browser(self) -> str:
        """The cookie that recognises a browser from which somebody has signed in."""
        return self._sessions.begin_browser()

    def _session(self, cookie: str) -> Session | None:
        session = self._sessions.read(cookie)
        if session is None or self._model.has_ended(session):
            return None
        return self._with_rights(session)

    def _with_rights(self, session: Session) -> Session | None:
        """The session with its holder's present rights; None if there are none any more."""
        if session.groups is not None:
            found = rights_of(session.groups, self._groups)
            if found is None or is_reserved(session.name):
                return None
            return replace(session, role=found[0], projects=found[1])
        if not session.token_id:
            return session
        # A session ends with the token it was begun with.
        token = self._tokens.valid(session.token_id, datetime.now(UTC))
        if token is None:
            return None
        caller = caller_of(token)
        return replace(session, role=caller.role, projects=caller.projects)
