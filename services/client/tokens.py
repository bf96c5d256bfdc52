"""Named tokens: shown once, stored as digests, and deleted when they expire."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from services.client.access import Caller
from services.client.projects import ALL, Projects
from services.client.records import TOKENS, Token
from services.client.spelling import is_reserved, spelt
from shared.contracts import DEFAULT_PROJECT
from shared.roles import Role
from shared.service.http import same
from shared.store import Store

_PREFIX = "barograph_"
MAX_TOKENS = 1_000


class NameTaken(Exception):
    """Another token has this name, so decisions would be ambiguous."""


class Tokens:
    """The named tokens of one client service."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self, name: str, role: Role, projects: Sequence[str], days: int, by: str, now: datetime
    ) -> tuple[Token, str]:
        """A new token, and what its holder presents: it is shown now and never again.

        Raises:
            NameTaken: another token that has not ended has the name, or there are too many.
        """
        token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        token = Token(
            id=token_id,
            name=name,
            role=role,
            digest=_digest(secret),
            created_at=now,
            created_by=by,
            expires_at=now + timedelta(days=days),
            projects=tuple(projects) or (DEFAULT_PROJECT,),
        )
        if is_reserved(name):
            raise NameTaken(f"{name} is what the holder of the API token is called")
        self._keep(token)
        return token, f"{_PREFIX}{token_id}_{secret}"

    def caller(self, presented: str, now: datetime) -> tuple[Token, Caller] | None:
        """The holder of a token; None for one that is not ours, was revoked, or has expired."""
        token_id, _, secret = presented.removeprefix(_PREFIX).partition("_")
        if not presented.startswith(_PREFIX) or not token_id.isalnum():
            return None
        token = self.valid(token_id, now)
        if token is None or not same(_digest(secret), token.digest):
            return None
        return token, caller_of(token)

    def valid(self, token_id: str, now: datetime) -> Token | None:
        """The token, while it lasts."""
        with self._store.reading() as records:
            token = records.get(TOKENS, token_id)
        return token if token is not None and token.expires_at > now else None

    def all(self) -> list[Token]:
        """All tokens that were not revoked, by name."""
        with self._store.reading() as records:
            return sorted(records.find(TOKENS), key=lambda t: (t.name, t.created_at))

    def revoke(self, token_id: str) -> bool:
        """Revoke a token; False when there is none."""
        with self._store.transaction() as records:
            known = records.get(TOKENS, token_id) is not None
            records.delete(TOKENS, token_id)
            return known

    def _keep(self, token: Token) -> None:
        with self._store.transaction() as records:
            known = records.find(TOKENS, limit=MAX_TOKENS)
            if len(known) >= MAX_TOKENS:
                raise NameTaken(f"there are {MAX_TOKENS} tokens already; revoke some")
            lasting = (t.name for t in known if t.expires_at > token.created_at)
            taken = next((name for name in lasting if spelt(name) == spelt(token.name)), "")
            if taken:
                fault = f"another token is named {taken}; revoke it, or choose another name"
                raise NameTaken(fault)
            records.put(TOKENS, token)


def caller_of(token: Token) -> Caller:
    """The caller who presents this token; an admin works in every project."""
    role = Role(token.role)
    return Caller(
        token.name, role, ALL if role is Role.ADMIN else Projects.of(token.projects, role)
    )


def _digest(secret: str) -> str:
    # The secret is 256 random bits, so nothing slow is needed to keep it from being guessed.
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
