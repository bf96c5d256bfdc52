"""Folds a mail's headers so that every mail program decodes them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from email.headerregistry import Address
from email.policy import EmailPolicy
from typing import Any

_BYTES = 39
"""The most bytes of text in one encoded word, whose line has at most 76 characters (RFC 2047)."""


class Folding(EmailPolicy):
    """Keeps the words that encode other alphabets short, whatever length other lines may have.

    Python makes them as long as a line may be, and programs then show the code in place of the
    text; what it breaks into several is read with spaces in it.
    """

    def fold(self, name: str, value: Any) -> str:
        """The header as text."""
        text = str(value)
        if text.isascii():
            return str(super().fold(name, value))
        addresses = getattr(value, "addresses", None)
        lines = [*_encoded(text)] if addresses is None else [*_listed(addresses)]
        return f"{name}: " + f"{self.linesep} ".join(lines) + self.linesep

    def fold_binary(self, name: str, value: Any) -> bytes:
        """The header as it is sent."""
        if str(value).isascii():
            return super().fold_binary(name, value)
        return self.fold(name, value).encode("ascii", "surrogateescape")


def _listed(addresses: Iterable[Address]) -> Iterator[str]:
    """The lines of a list of addresses."""
    *others, last = addresses
    for each in (*others, last):
        comma = "" if each is last else ","
        if each.display_name.isascii():
            yield f"{each}{comma}"
        else:
            yield from _encoded(each.display_name)
            yield f"<{each.addr_spec}>{comma}"


def _encoded(text: str) -> Iterator[str]:
    """Encoded words of whole characters; what separates them does not belong to the text."""
    part = b""
    for character in text:
        encoded = character.encode(errors="replace")
        if len(part) + len(encoded) > _BYTES:
            yield f"=?utf-8?b?{b64encode(part).decode()}?="
            part = b""
        part += encoded
    yield f"=?utf-8?b?{b64encode(part).decode()}?="
