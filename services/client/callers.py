"""Who a request is of: the holder of the API token or of a named one, or somebody signed in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from services.client.access import NOBODY, UNNAMED, Caller
from services.client.model import ReadModel
from services.client.projects import ALL
from services.client.sessions import Session, Sessions
from services.client.settings import ClientSettings
from services.client.tokens import Tokens, caller_of
from shared.roles import Role
from shared.service.http import same


class Callers:
    """Knows them by what they present; reads the store, so not for the event loop."""

    def __init__(self, settings: ClientSettings, model: ReadModel, tokens: Tokens) -> None:
        self._token = settings.api_token.get_secret_value()
        self._sessions = Sessions(self._token)
        self._model = model
        self._tokens = tokens

    def of(self, authorization: str, cookie: str) -> tuple[Caller | None, Session | None]:
        """The caller, None for a stranger; and the session, for who is signed in at the pages."""
        session = self._session(cookie) if cookie else None
        if not self._token:
            return NOBODY, None
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._bearer(given), session
        if session is None:
            return None, None
        return Caller(session.name, session.role, session.projects), session

    def _bearer(self, given: str) -> Caller | None:
        if same(given, self._token):
            return Caller(UNNAMED, Role.ADMIN, ALL)
        found = self._tokens.caller(given, datetime.now(UTC))
        return found[1] if found else None

    def begin(self, presented: str, name: str) -> str | None:
        """The cookie of a new session; a named token's holder has its name and no other."""
        if not self._token:
            return None
        if same(presented, self._token):
            return self._sessions.begin(name or UNNAMED)
        found = self._tokens.caller(presented, datetime.now(UTC))
        return self._sessions.begin(found[0].name, found[0].id) if found else None

    def browser(self, cookie: str) -> str | None:
        """Which browser asks to sign in; None for one from which nobody has yet."""
        return self._sessions.read_browser(cookie)

    def begin_browser(self) -> str:
        """The cookie by which a browser from which somebody signed in is known again."""
        return self._sessions.begin_browser()

    def _session(self, cookie: str) -> Session | None:
        session = self._sessions.read(cookie)
        if session is None or self._model.has_ended(session):
            return None
        if not session.token_id:
            return session
        # With its token ends what was begun with it.
        token = self._tokens.valid(session.token_id, datetime.now(UTC))
        if token is None:
            return None
        caller = caller_of(token)
        return replace(session, role=caller.role, projects=caller.projects)
