"""Masks secrets in command lines, because evidence leaves the machine and mails are forwarded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

MASK = "***"
_MAX_CHARS = 200
_LOOKED_AT = 2000
"""The number of characters of a command line that are scanned; fewer are shown."""

_WORD = (
    r"(?:passw(?:or)?d|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|credentials?|auth(?:orization)?|cookie|dsn)"
)
# Strangers name processes and write log lines. So each expression looks at a run of letters once,
# from its beginning, and gives nothing of it back: the time is linear in the text.
_NAME = rf"(?=[\w.-]*?{_WORD})[\w.-]++"
_ASSIGNED = re.compile(rf"(?i)(?<![\w.-])({_NAME}[\"']?\s*+[=:]\s*+)(\"[^\"]*\"|'[^']*'|[^\s&,;]+)")
_OPTION = re.compile(rf"(?i)^--?{_NAME}$")
_URL_LOGIN = re.compile(
    r"(?i)(?<![a-z0-9+.-])([a-z0-9+.-]++://)(?:[^\s/]{0,1000}|[^\s/@:]*+:\S{0,1000})@"
)
_WORD_LOGIN = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}")
_SHAPES = (
    re.compile(r"\b(?:AKIA|ASIA|AGPA|AROA)[A-Z0-9]{16}\b"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|sk_live_)[\w-]{16,}"),
    # AWS' secret keys and their like: 40 characters of base64 with more than one kind of letter.
    re.compile(
        r"(?<![\w/+.-])(?=[A-Za-z0-9/+]{40}(?![\w/+=.-]))"
        r"(?=[A-Z0-9/+]*+[a-z])(?=[a-z0-9/+]*+[A-Z])(?=[A-Za-z/+]*+\d).{40}"
    ),
)
_SHORT_OPTIONS = {
    "curl": "-u",
    "ldapsearch": "-w",
    "mariadb": "-p",
    "mysql": "-p",
    "mysqldump": "-p",
    "redis-cli": "-a",
    "smbclient": "-U",
    "sshpass": "-p",
    "wget": "-u",
}
"""Programs whose one-letter option carries a secret, in the next word or glued to it."""


def masked(arguments: Sequence[str]) -> str:
    """A command line for people: secrets replaced by ``***``, no control characters, bounded.

    >>> masked(["app", "--token", "abc", "--db=postgres://me:pw@db/x"])
    'app --token *** --db=postgres://***@db/x'
    """
    words: list[str] = []
    left = _LOOKED_AT
    short = _SHORT_OPTIONS.get(PurePath(arguments[0]).name) if arguments else None
    hide_next = False
    for whole in arguments:
        if left <= 0:
            break
        word = whole[:left]
        left -= len(word)
        if hide_next and not word.startswith("--"):
            words.append(MASK)
            hide_next = False
            continue
        glued = short is not None and word.startswith(short) and word != short
        words.append(short + MASK if glued and short else masked_text(word))
        hide_next = bool(_OPTION.match(word)) or (short is not None and word == short)
    text = " ".join(words)
    # Once more as a whole: a secret may be spread over words ("Authorization:", "Bearer x").
    text = "".join(c if c.isprintable() else "?" for c in masked_text(text))
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"


def masked_text(text: str) -> str:
    """The text with its secrets replaced."""
    text = _URL_LOGIN.sub(rf"\1{MASK}@", text)
    text = _WORD_LOGIN.sub(rf"\1 {MASK}", text)
    text = _ASSIGNED.sub(_hide, text)
    for shape in (*_SHAPES, *_more):
        text = shape.sub(MASK, text)
    return text


_more: tuple[re.Pattern[str], ...] = ()


def mask_also(patterns: Iterable[str]) -> None:
    """Mask what this machine's owner calls secret, too; once, at the agent's start.

    Raises re.error for a pattern that is no regular expression.
    """
    global _more  # noqa: PLW0603 - one process has one set of patterns
    _more = tuple(re.compile(pattern) for pattern in patterns)


def _hide(found: re.Match[str]) -> str:
    kept: str = found[1]
    # "Authorization: Bearer ***" has been seen to.
    value: str = found[2]
    return found[0] if value.lower() in {"bearer", "basic"} else kept + MASK
