"""The names in a batch of samples: items, and labels in their canonical text.

Names are UTF-8, as in Prometheus 3. What an exporter writes is kept whatever it is: characters
that no line of a mail or log can hold become spaces, and what is longer than events can carry is
cut, with a hash instead of the rest, so that different series stay different.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from shared.contracts.metrics import (
    LABEL_NAME_LENGTH,
    LABEL_VALUE_LENGTH,
    MAX_ITEM_LENGTH,
    MAX_LABELS,
    UNPRINTABLE,
)

CUT_LABEL = "labels_cut"
"""Stands for the labels of a series that has too many."""

_MAX_BYTES = 8192
"""The bound on a series' labels: an event's header names them within one AMQP frame."""
_UNPRINTABLE = re.compile(UNPRINTABLE)


@dataclass(frozen=True)
class Labels:
    """A series' labels in canonical form."""

    text: str
    """The labels in canonical form."""
    cut: bool
    """True if some were too long or too many."""


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels in canonical form: the same labels always give the same text."""
    return orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS).decode() if labels else ""


def labels_from(text: str) -> dict[str, str]:
    """The labels that ``labels_text`` wrote."""
    labels: dict[str, str] = orjson.loads(text) if text else {}
    return labels


def item_of(name: str) -> str | None:
    """The item of a metric's name; None for a name without a character that can be shown."""
    if name.isprintable() and len(name) <= MAX_ITEM_LENGTH and not name.startswith(" "):
        return name or None
    name = _shown(name)
    return _short(name, MAX_ITEM_LENGTH) if name.strip() else None


def kept_labels(labels: Mapping[str, str]) -> Labels:
    """The labels that are kept; one without a name or a value is no label."""
    if _is_plain(labels):
        return Labels(labels_text(labels), cut=False)
    shown = {
        name: value
        for name, value in ((_shown(name), _shown(value)) for name, value in labels.items())
        if name and value
    }
    text = labels_text(shown)
    fits = len(text) <= _MAX_BYTES // 4 and len(shown) <= MAX_LABELS
    if fits and all(map(_is_short, shown, shown.values())):
        return Labels(text, cut=False)
    kept = dict(_within_bounds(shown))
    return Labels(labels_text(kept), cut=kept != shown)


def _is_plain(labels: Mapping[str, str]) -> bool:
    """Return whether labels may stay as they are: nearly always, and quick to see."""
    names, values = "".join(labels), "".join(labels.values())
    return (
        names.isprintable()
        and values.isprintable()
        and len(names) + len(values) <= LABEL_NAME_LENGTH * 4
        and len(labels) <= MAX_LABELS
        and all(labels)
        and all(labels.values())
        and max(map(len, labels), default=0) <= LABEL_NAME_LENGTH
    )


def _within_bounds(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The first labels in order of their names, shortened, and one that stands for the others."""
    shortened = [
        (_short(name, LABEL_NAME_LENGTH), _short(value, LABEL_VALUE_LENGTH))
        for name, value in sorted(labels.items())
    ]
    room, size = _MAX_BYTES, 0
    most = MAX_LABELS if len(labels) <= MAX_LABELS else MAX_LABELS - 1
    for number, (name, value) in enumerate(shortened):
        size += len(orjson.dumps({name: value}))
        if number == most or size > room:
            rest = shortened[number:]
            yield CUT_LABEL, f"{len(rest)} labels {_digest(labels_text(dict(rest)))}"
            return
        yield name, value


def _is_short(name: str, value: str) -> bool:
    return len(name) <= LABEL_NAME_LENGTH and len(value) <= LABEL_VALUE_LENGTH


def _shown(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text)


def _short(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    digest = _digest(text)
    return f"{text[: most - len(digest) - 1]}~{digest}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=6).hexdigest()
