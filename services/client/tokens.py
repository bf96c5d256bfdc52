"""Named tokens: shown once, stored as digests, and deleted when they expire."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from services.client.access import Caller
from services.client.model import ReadModel
from services.client.projects import ALL, Projects
from services.client.records import Token
from services.client.spelling import is_reserved, spelt
from shared.contracts import DEFAULT_PROJECT
from shared.roles import Role
from shared.service.http import same

_PREFIX = "barograph_"
MAX_TOKENS = 1_000


class NameTaken(Exception):
    """Another token has this name, so decisions would be ambiguous."""


class Tokens:
    """The named tokens of one client service."""

    def __init__(self, model: ReadModel) -> None:
        self._model = model

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
        fault = self._model.keep_token(token, MAX_TOKENS, spelt)
        if fault:
            raise NameTaken(fault)
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
        token = self._model.token(token_id)
        return token if token is not None and token.expires_at > now else None


def caller_of(token: Token) -> Caller:
    """Whoever presents this token; an admin works in every project."""
    role = Role(token.role)
    return Caller(
        token.name, role, ALL if role is Role.ADMIN else Projects.of(token.projects, role)
    )


def _digest(secret: str) -> str:
    # The secret is 256 random bits, so nothing slow is needed to keep it from being guessed.
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
