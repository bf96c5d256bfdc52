"""Signed links: each permits its holder one act until a given time.

A link names a purpose, a subject and the person it was made for. Nothing of it is secret, but
none of it can be changed: it is signed with HMAC-SHA256 under a key only the healer has. Who
follows a link sees a page that asks (mail scanners follow links, too); only its button acts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args
from urllib.parse import quote

from services.healer.model.notice import ENDINGS, Notice, Summary

Purpose = Literal["acknowledge", "silence", "approve", "deny", "not-an-anomaly"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

_CONTEXT = b"barograph link 1\0"
_MAX_LINK_CHARS = 2048
_MIN_KEY = 16


class LinkRefused(Exception):
    """The link was not issued here, or was modified."""


class LinkExpired(LinkRefused):
    """The link has expired."""


@dataclass(frozen=True)
class Link:
    """The act that a link allows, for whom and until when."""

    purpose: Purpose
    subject: str
    """The id of what it is about: an incident, an approval."""
    by: str
    """The recipient, whom the audit log names as the one who acted."""
    expires: datetime


class Links:
    """Creates and verifies links.

    Args:
        keys: the first signs, all are accepted: put a new one in front, and take the old one
            away when the links signed with it have expired.

    Raises:
        ValueError: without a key, or with one shorter than 16 bytes.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) < _MIN_KEY for key in keys):
            msg = f"links need keys of at least {_MIN_KEY} bytes"
            raise ValueError(msg)
        self._keys = tuple(keys)

    def sign(self, link: Link) -> str:
        """The link as a token, safe in a URL's path."""
        if link.purpose not in PURPOSES:
            msg = f"no purpose {link.purpose!r}; there are {', '.join(PURPOSES)}"
            raise ValueError(msg)
        parts = [link.purpose, link.subject, link.by, int(link.expires.timestamp())]
        body = json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()
        token = f"{_text(body)}.{_text(_signature(self._keys[0], body))}"
        if len(token) > _MAX_LINK_CHARS:
            msg = "the link's subject and person are too long"
            raise ValueError(msg)
        return token

    def read(self, token: str, now: datetime) -> Link:
        """The link behind a token.

        Raises:
            LinkExpired: its time is over.
            LinkRefused: it was not signed by us, or is not a token at all.
        """
        body = self._verified(token)
        purpose, subject, by, expires = json.loads(body)
        link = Link(purpose, subject, by, datetime.fromtimestamp(expires, UTC))
        if now >= link.expires:
            raise LinkExpired(f"the link expired at {link.expires:%Y-%m-%d %H:%M:%S} UTC")
        return link

    def url(self, base: str, link: Link) -> str:
        """Return where the link leads, below the healer's public address ``base``."""
        return f"{base.rstrip('/')}/links/{quote(self.sign(link), safe='')}"

    def _verified(self, token: str) -> bytes:
        head, _, tail = token.partition(".")
        if len(token) > _MAX_LINK_CHARS or not head or not tail:
            raise LinkRefused("this is not a link of ours")
        try:
            body, given = _bytes(head), _bytes(tail)
        except (binascii.Error, ValueError) as error:
            raise LinkRefused("this is not a link of ours") from error
        if not any(hmac.compare_digest(_signature(key, body), given) for key in self._keys):
            raise LinkRefused("the link was changed on the way, or its key is no longer used")
        return body


def _signature(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, _CONTEXT + body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    if not text.isascii():
        msg = "not base64"
        raise ValueError(msg)
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    # Spare bits of the last letter would let one link be written in several ways.
    if _text(data) != text:
        msg = "not the encoding of what it holds"
        raise ValueError(msg)
    return data


@dataclass(frozen=True)
class LinkMaker:
    """Creates the links of one notification to one recipient."""

    links: Links
    base: str
    valid: timedelta
    offered: frozenset[Purpose] = frozenset({"acknowledge", "silence"})
    """The purposes of links that the healer can serve."""

    def of(self, notice: Notice | Summary, recipient: str) -> list[tuple[str, str]]:
        """Label and address of what the recipient can do about it."""
        if not isinstance(notice, Notice) or notice.kind in ENDINGS or not notice.incident_id:
            return []
        wanted: list[tuple[str, Purpose, str]] = [
            ("Approve", "approve", notice.approval_id),
            ("Deny", "deny", notice.approval_id),
            ("Acknowledge", "acknowledge", "" if notice.acknowledged_by else notice.incident_id),
            ("Silence", "silence", notice.incident_id),
            ("Not an anomaly", "not-an-anomaly", notice.incident_id),
        ]
        expires = notice.at + self.valid
        return [
            (label, self.links.url(self.base, Link(purpose, subject, recipient, expires)))
            for label, purpose, subject in wanted
            if subject and purpose in self.offered
        ]
