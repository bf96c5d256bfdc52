"""Named tokens: made once, shown once, kept as digests, and gone when their time is up."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta

from services.client.access import UNNAMED, Caller
from services.client.model import ReadModel
from services.client.projects import ALL, Projects
from services.client.records import Token
from shared.contracts import DEFAULT_PROJECT
from shared.roles import Role
from shared.service.http import same

_PREFIX = "barograph_"
_RESERVED = frozenset({UNNAMED, "the user"})
"""The name under which decisions of the API token's holder are signed."""
MAX_TOKENS = 1_000


class NameTaken(Exception):
    """Another token has this name: decisions would not say whose they are."""


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
        if _spelt(name) in _RESERVED:
            raise NameTaken(f"{name} is what the holder of the API token is called")
        fault = self._model.keep_token(token, MAX_TOKENS, _spelt)
        if fault:
            raise NameTaken(fault)
        return token, f"{_PREFIX}{token_id}_{secret}"

    def caller(self, presented: str, now: datetime) -> tuple[Token, Caller] | None:
        """Whose token it is; None for one that is not ours, was revoked, or has expired."""
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


def _spelt(name: str) -> str:
    """What names that read alike have in common: case and width tell no people apart."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    dashes = "".join("-" if unicodedata.category(each) == "Pd" else each for each in folded)
    return " ".join(dashes.split())


def _digest(secret: str) -> str:
    # The secret is 256 random bits, so nothing slow is needed to keep it from being guessed.
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
