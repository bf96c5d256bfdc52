"""The end of the demonstration: a paragraph for each part, links whole on lines of their own."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from shared.embedded.stackfile import StackFile

_MAX_WIDTH = 100
"""The most characters of a line: longer ones are hard to read, even if the terminal has room."""


@dataclass(frozen=True)
class Chapter:
    """The result of one part."""

    title: str
    sentences: str
    mail: str = ""
    """The subject of the mail that told a person."""
    page: str = ""
    """The web page that shows it."""


def show(console: Console, chapters: Iterable[Chapter], file: StackFile | None) -> None:
    """Print what happened, and where to look at it.

    Args:
        console: where it is printed.
        chapters: what happened.
        file: the addresses of what goes on running; None when everything is stopped now.
    """
    console.rule("What happened")
    for chapter in chapters:
        console.print()
        console.print(Text(chapter.title, "bold"))
        _paragraph(console, chapter.sentences)
        if chapter.mail:
            _paragraph(console, f"Mail: {chapter.mail}")
        if chapter.page:
            _link(console, chapter.page)
    console.print()
    if file is None:
        return
    console.print(Text("The web page, and the token that its login asks for", "bold"))
    _link(console, file.client_url)
    _link(console, file.client_token)
    console.print()


def _paragraph(console: Console, text: str) -> None:
    width = min(console.width, _MAX_WIDTH)
    lines = textwrap.fill(text, width, initial_indent="  ", subsequent_indent="  ")
    console.print(Text(lines), highlight=False)


def _link(console: Console, address: str) -> None:
    """A link that is folded cannot be clicked, nor copied."""
    console.print(Text(f"  {address}", "cyan"), soft_wrap=True, highlight=False)
