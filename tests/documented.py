"""What the documentation shows: fenced blocks, commands in the text, names of settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "bench/*.md", "charts/**/*.md")
    for page in ROOT.glob(pattern)
    if page.name != "CHANGELOG.md" and not page.is_relative_to(ROOT / "docs/reference")
)
"""Every page written by hand; the changelog tells of names that are gone."""
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^    \S.*\n)+", re.MULTILINE)
_BETWEEN = re.compile(r"[();<>|&\n]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_SHELL_WORDS = {"for", "do", "done", "export", "sudo"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}#{self.number}"


def blocks(*languages: str) -> list[Block]:
    """The fenced blocks of all pages in these languages; each is numbered within its page."""
    found = []
    for page in PAGES:
        fenced = _FENCE.findall(page.read_text())
        found += [Block(page, n, language, text) for n, (_, language, text) in enumerate(fenced)]
    return [block for block in found if block.language in languages]


def program(page: str, number: int) -> str:
    """The fenced block of a page with this number, which is in Python."""
    (found,) = (b for b in blocks("python") if str(b) == f"{page}#{number}")
    return found.text


def indented(page: Path) -> str:
    """The lines of a page that Markdown shows as they are because they are indented."""
    return "".join(_INDENTED.findall(_FENCE.sub("", page.read_text())))


def inline(page: Path) -> list[str]:
    """Return what stands between single backquotes in the text of a page."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", _FENCE.sub("", page.read_text()))


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a shell script, as words, without assignments before them.

    Raises:
        ValueError: for a quote that is not closed.
    """
    script = re.sub(r"(^|\s)#.*$", r"\1", script.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(script, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    file_next = False
    for token in [*lexer, "\n"]:
        if not _BETWEEN.fullmatch(token):
            if not file_next:
                words.append(token)
            file_next = False
            continue
        if token in {"<", ">", ">>"}:
            file_next = True
            continue
        while words and (_ASSIGNMENT.match(words[0]) or words[0] in _SHELL_WORDS):
            if words[0] == "for":
                words.clear()
            words = words[1:]
        if words:
            yield words
        words = []


def assignments(script: str) -> dict[str, str]:
    """The variables that a shell script sets."""
    found = {}
    lexer = shlex.shlex(script.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for word in lexer:
        if _ASSIGNMENT.match(word):
            name, _, value = word.partition("=")
            found[name] = value
    return found
