"""Which alerts a rule is about: matchers over an alert's labels, written as Alertmanager's are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Literal, Protocol

import re2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.contracts.alerts import SeriesRef, Severity

Operator = Literal["=", "!=", "=~", "!~"]
_WRITTEN = re.compile(
    r"""\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*
        (?:"((?:[^"\\]|\\.)*)"|((?![=~])[^\s"'`“”„‘’«»,{}]*))\s*""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_MAX_LENGTH = 512
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # what is wrong is told to the one who sent it
_OPTIONS.max_mem = 1 << 20


class Matcher(BaseModel):
    """One condition on a label; an absent label counts as the empty text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=128, description="Label name.")
    op: Operator = "="
    value: str = Field(max_length=_MAX_LENGTH, description="Text, or with =~ and !~ an expression.")

    @model_validator(mode="after")
    def _usable(self) -> Matcher:
        if self.op in {"=~", "!~"}:
            try:
                _compiled(self.value)
            except (re2.error, UnicodeEncodeError) as error:
                reason = error.args[0] if error.args else ""
                if isinstance(reason, bytes):  # as RE2's own errors have it
                    reason = reason.decode(errors="replace")
                msg = f"{self.text()}: not a regular expression as RE2 takes them: {reason}"
                raise ValueError(msg) from error
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil it; expressions must match the whole value."""
        value = labels.get(self.name, "")
        if self.op in {"=", "!="}:
            return (value == self.value) == (self.op == "=")
        return bool(_compiled(self.value).fullmatch(value)) == (self.op == "=~")

    def text(self) -> str:
        """As it is written, e.g. ``host=~"web-.*"``."""
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{value}"'


def parsed(value: object) -> object:
    """A matcher from its text, ``host=~"web-.*"``; anything else as it is."""
    if not isinstance(value, str):
        return value
    found = _WRITTEN.fullmatch(value)
    if found is None:
        msg = f'{value!r} is not a matcher; write one label="value" (or !=, =~, !~) each'
        raise ValueError(msg)
    name, op, quoted, bare = found.groups()
    return {"name": name, "op": op, "value": bare if quoted is None else _unescaped(quoted)}


def _unescaped(quoted: str) -> str:
    """As Alertmanager reads it: a backslash before another character stands for itself."""
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[0]), quoted)


Matchers = tuple[Annotated[Matcher, BeforeValidator(parsed)], ...]
"""All must hold."""


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher holds; true without any."""
    return all(matcher.matches(labels) for matcher in matchers)


def labels_of(series: SeriesRef, family: str, severity: Severity) -> dict[str, str]:
    """What matchers see of an alert; the series' own labels never hide ours."""
    own = {"host": series.host, "item": series.item, "family": family, "severity": severity.value}
    return dict(series.labels) | own


@lru_cache(maxsize=256)
def _compiled(expression: str) -> _Expression:
    """RE2 matches in time linear in the text, whatever the expression: people send them."""
    compiled: _Expression = re2.compile(expression, _OPTIONS)
    return compiled


class _Expression(Protocol):
    def fullmatch(self, text: str) -> object: ...
