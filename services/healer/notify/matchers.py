"""Matchers over an alert's labels, written as in Alertmanager."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Literal, Protocol

import re2
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from services.healer.model.severity_words import severity_in
from shared.contracts.alerts import SeriesRef, Severity
from shared.machine import is_machine, machine_for

Operator = Literal["=", "!=", "=~", "!~"]
_WRITTEN = re.compile(
    r"""\s*([^\W\d][\w.:/-]*)\s*(=~|!~|!=|=)\s*
        (?:"((?:[^"\\]|\\.)*)"|((?![=~])[^\s"'`“”„‘’«»,{}]*))\s*""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_MAX_LENGTH = 512
_ADDRESSES = frozenset({"instance", "node", "nodename", "hostname"})
"""Further labels that name a machine; an alert lacks those that only repeat its ``host``."""
_TARGET = "instance"
"""The label that Prometheus gives to every alert about a target."""
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # who sent it gets what is wrong as the answer
_OPTIONS.max_mem = 1 << 20
_OPTIONS.dot_nl = True  # .* is any value, also one of several lines


class Matcher(BaseModel):
    """One condition on a label; an absent label counts as the empty text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=128, description="The name of the label.")
    op: Operator = Field(
        default="=", description="= equal, != not equal, =~ matches, !~ does not match."
    )
    value: str = Field(
        max_length=_MAX_LENGTH,
        description="The text to compare with; with =~ and !~ a regular expression.",
    )

    @field_validator("value")
    @classmethod
    def _as_kept(cls, value: str, info: ValidationInfo) -> str:
        """Normalise names of machines and severities, because other spellings would never match."""
        name = info.data.get("name") if info.data.get("op") in {"=", "!="} else ""
        if name == "host" and is_machine(value):
            return machine_for(value)
        meant = severity_in(value) if name == "severity" else None
        return value if meant is None else meant.value

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
        """Return whether the labels meet the condition; expressions match whole values."""
        name, value = _found(self.name, labels)
        if self.op in {"=", "!="}:
            same = value == self.value or self._same_machine(name, value, labels)
            return same == (self.op == "=")
        if not value and name == _TARGET:
            value = labels.get("host", "")
        return bool(_compiled(self.value).fullmatch(value)) == (self.op == "=~")

    def _same_machine(self, name: str, value: str, labels: Mapping[str, str]) -> bool:
        """Return whether another label that names a machine means the same one.

        A port tells two programs of one machine apart, so it must be the same where both have one.
        """
        if name not in _ADDRESSES or not is_machine(self.value):
            return False
        wanted, written = machine_for(self.value), self.value.strip().lower()
        if not value:
            return wanted == labels.get("host")
        if value.strip().lower() == written:
            return True
        return written == wanted and machine_for(value) == wanted

    def text(self) -> str:
        """The matcher's text, e.g. ``host=~"web-.*"``."""
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
    """Unescape as Alertmanager does: a backslash before other characters is literal."""
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[0]), quoted)


Matchers = tuple[Annotated[Matcher, BeforeValidator(parsed)], ...]
"""The conditions, all of which must hold."""


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Return whether every matcher holds; true without any."""
    return all(matcher.matches(labels) for matcher in matchers)


def value_of(name: str, labels: Mapping[str, str]) -> str:
    """The value of an alert's label, for comparing alerts; an absent label is empty.

    A label that names a machine is the alert's machine where it is absent, because it is left out
    only where it repeats that: two machines must not be equal in it.
    """
    name, value = _found(name, labels)
    return labels.get("host", "") if not value and name in _ADDRESSES else value


def _found(name: str, labels: Mapping[str, str]) -> tuple[str, str]:
    """The name under which the alert has the label, and its value."""
    if name not in labels:
        # Prometheus shows what a middleman has renamed; alerts have it under its own name.
        name = name.removeprefix("exported_")
    if name not in labels and name == "alertname":
        name = "item"  # which is the name of an alert wherever an item may have that name
    return name, labels.get(name, "")


def labels_of(series: SeriesRef, family: str, severity: Severity) -> dict[str, str]:
    """The labels of an alert for matchers; the series' own labels never hide ours.

    One with the name of ours is kept as ``exported_…``, as Prometheus does.
    """
    own = {"host": series.host, "item": series.item, "family": family, "severity": severity.value}
    hidden = {
        f"exported_{name}": series.labels[name]
        for name, value in own.items()
        if series.labels.get(name, value) != value
    }
    return hidden | dict(series.labels) | own


@lru_cache(maxsize=256)
def _compiled(expression: str) -> _Expression:
    """Compile with RE2, which matches in linear time, because users write the expressions."""
    compiled: _Expression = re2.compile(expression, _OPTIONS)
    return compiled


class _Expression(Protocol):
    def fullmatch(self, text: str) -> object: ...
