"""Which alerts a rule is about: matchers over an alert's labels, written as Alertmanager's are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.contracts.alerts import SeriesRef, Severity

Operator = Literal["=", "!=", "=~", "!~"]
_WRITTEN = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(?:"([^"]*)"|(.*?))\s*')
_LONGEST = 512


class Matcher(BaseModel):
    """One condition on a label; an absent label counts as the empty text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=128, description="Label name.")
    op: Operator = "="
    value: str = Field(max_length=_LONGEST, description="Text, or with =~ and !~ an expression.")

    @model_validator(mode="after")
    def _usable(self) -> Matcher:
        if self.op in {"=~", "!~"}:
            try:
                _compiled(self.value)
            except re.error as error:
                msg = f"{self.text()}: not a regular expression: {error}"
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
        return f'{self.name}{self.op}"{self.value}"'


def parsed(value: object) -> object:
    """A matcher from its text, ``host=~"web-.*"``; anything else as it is."""
    if not isinstance(value, str):
        return value
    found = _WRITTEN.fullmatch(value)
    if found is None:
        msg = f'{value!r} is not a matcher; write label="value", !=, =~ or !~'
        raise ValueError(msg)
    name, op, quoted, bare = found.groups()
    return {"name": name, "op": op, "value": quoted if quoted is not None else bare}


Matchers = tuple[Annotated[Matcher, BeforeValidator(parsed)], ...]
"""All must hold."""


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher holds; true without any."""
    return all(matcher.matches(labels) for matcher in matchers)


def labels_of(series: SeriesRef, family: str, severity: Severity) -> dict[str, str]:
    """What matchers see of an alert; the series' own labels never hide ours."""
    own = {"host": series.host, "item": series.item, "family": family, "severity": severity.value}
    return dict(series.labels) | own


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)
