"""Makes untrusted text safe to show: on a terminal, in a mail, in a log."""

from __future__ import annotations

import unicodedata
from typing import Any

_FIRST_PICTURE = 0x2400
_FIRST_PRINTABLE = 0x20
_SPACES = str.maketrans("\n\t", "  ")


def visible(text: str) -> str:
    r"""``text`` with a sign for each character that nobody sees; line breaks and tabs stay.

    Control characters can move a terminal's cursor or change its title, and others turn the
    direction of what follows, so that a name reads as another.

    >>> visible("a\x1b[2Jb\u202ec\td")
    'a␛[2Jb�c\td'
    """
    if text.isprintable() or text.translate(_SPACES).isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else sign(c) for c in text)


def encodable(text: str) -> bool:
    """Return whether databases and messages take it: half of a surrogate pair is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def visible_value(value: Any) -> Any:
    """A JSON value whose texts, names of fields not among them, are all visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {name: visible_value(each) for name, each in value.items()}
    if isinstance(value, list):
        return [visible_value(each) for each in value]
    return value


def sign(char: str) -> str:
    r"""The replacement of a character that cannot be shown, if possible its picture in Unicode.

    >>> sign("\x00"), sign("\u2009"), sign("\u202e")
    ('␀', ' ', '�')
    """
    if ord(char) < _FIRST_PRINTABLE:
        return chr(_FIRST_PICTURE + ord(char))
    return " " if unicodedata.category(char) == "Zs" else "\N{REPLACEMENT CHARACTER}"


def finalized(value: Any) -> Any:
    """A template's value as it may be shown; markup, which a filter has made, stays markup."""
    return type(value)(visible(value)) if isinstance(value, str) else value
