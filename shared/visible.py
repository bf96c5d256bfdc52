"""Text from strangers, made safe to show: on a terminal, in a mail, in a log."""

from __future__ import annotations

from typing import Any


def visible(text: str) -> str:
    r"""``text`` without characters that nobody sees; line breaks and tabs stay.

    Control characters can move a terminal's cursor or change its title, and others turn the
    direction of what follows, so that a name reads as another.

    >>> visible("a\x1b[2Jb\u202ec\td")
    'a [2Jb c\td'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def finalized(value: Any) -> Any:
    """A template's value as it may be shown; markup, which a filter has made, stays markup."""
    return type(value)(visible(value)) if isinstance(value, str) else value
