"""Text from strangers, made safe to show: on a terminal, in a mail, in a log."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""``text`` without characters that nobody sees; line breaks and tabs stay.

    Control characters can move a terminal's cursor or change its title, and others turn the
    direction of what follows, so that a name reads as another.

    >>> visible("a\x1b[2Jb\u202ec\td")
    'a [2Jb c\td'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
