"""Reads one alert of Prometheus or Alertmanager as a signal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import islice
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from services.healer.model.severity_words import severity_of
from services.healer.model.signal import Observation, Signal
from shared.contracts.alerts import AlertState, SeriesRef
from shared.contracts.message import deterministic_id
from shared.honored_labels import honored
from shared.items import family_of
from shared.machine import OTHER_LABELS, is_loopback, is_scraped, known_machine, machine_for
from shared.time_zones import Moment

_OTHER_HOST_LABELS = (*OTHER_LABELS, "pod")
_NOT_ITEM = re.compile(r"[^A-Za-z0-9_:.\-]+")
_SAID = ("summary", "description", "message")
"""Annotations that describe the problem, the shortest first."""
_ZERO_YEAR = 1
"""Go's zero time, which Alertmanager's clients send for "not set"."""
_MAX_GIVEN = 1_000
"""Labels or annotations of one alert; each that is wrong makes a fault, and each is sorted."""
_MAX_LABELS, _MAX_NAME, _MAX_VALUE, _MAX_TEXT = 64, 128, 512, 2000
_MAX_AHEAD = timedelta(days=3660)
_LEAP_SECOND = re.compile(r"^(\d{4}-\d\d-\d\d[Tt ]23:59:)60")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that no database or message can hold."""


def _storable(texts: object) -> object:
    """The map without invalid characters; Go encodes an empty map as null, PHP as a list."""
    if texts is None or texts == []:
        return {}
    if not isinstance(texts, dict):
        return texts
    if len(texts) > _MAX_GIVEN:
        raise ValueError(f"must have at most {_MAX_GIVEN} names")
    return {_text(name): _text(value) for name, value in texts.items()}


def _text(value: object) -> object:
    """A value as text; scripts send numbers and booleans where Alertmanager has texts."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _said(texts: object) -> object:
    """Annotations as text, so that no alert is lost because of other values."""
    if not isinstance(texts, dict):
        texts = {"description": texts} if texts else {}
    texts = dict(islice(texts.items(), _MAX_GIVEN))  # an alert is not lost because of them
    plain = (str, bool, int, float, type(None))
    shown = {n: v if isinstance(v, plain) else json.dumps(v)[:_MAX_TEXT] for n, v in texts.items()}
    return _storable(shown)


def _given(moment: object) -> object:
    """Treat an empty text as absent, and a leap second as the second before it."""
    if isinstance(moment, str):
        moment = _LEAP_SECOND.sub(r"\g<1>59", moment)
    return None if moment == "" else moment


Texts = Annotated[dict[str, str], BeforeValidator(_storable)]
Words = Annotated[dict[str, str], BeforeValidator(_said)]
OptionalMoment = Annotated[Moment | None, BeforeValidator(_given)]


class OutsideAlert(BaseModel):
    """One alert as Prometheus posts it, or as Alertmanager's webhook carries it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    labels: Texts = Field(min_length=1)
    annotations: Words = {}
    startsAt: OptionalMoment = None  # noqa: N815 - Alertmanager's name
    endsAt: OptionalMoment = None  # noqa: N815 - Alertmanager's name
    status: str = ""

    @field_validator("status", mode="before")
    @classmethod
    def _of_a_webhook(cls, status: object) -> object:
        """Accept the status of Alertmanager's listing, which does not show whether it has ended."""
        return status if isinstance(status, str) else ""

    @field_validator("labels")
    @classmethod
    def _named(cls, labels: dict[str, str]) -> dict[str, str]:
        """Drop labels with empty values, as Alertmanager does."""
        found = {name: value for name, value in labels.items() if value}
        if not found:
            raise ValueError("an alert needs a label that has a value")
        if "" in found:
            raise ValueError(f"the label of value {found['']!r} has no name")
        return honored(found)

    @property
    def began(self) -> datetime | None:
        """The start, if the sender gives one."""
        starts = self.startsAt
        return None if starts is None or starts.year == _ZERO_YEAR else starts

    @property
    def ends(self) -> datetime | None:
        """The end, past or future, if the sender gives one."""
        ends = self.endsAt
        return None if ends is None or ends.year == _ZERO_YEAR else ends

    @model_validator(mode="after")
    def _in_order(self) -> OutsideAlert:
        if self.startsAt and self.ends and self.ends < self.startsAt:
            msg = "startsAt must be before endsAt"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Outside:
    """An alert of a foreign Alertmanager as the healer reads it."""

    series: SeriesRef
    family: str
    signal: Signal
    observation: Observation
    over: bool
    ended_ms: int
    """The end of an alert that has ended, not later than the time of its message."""


def machines_named(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The machines that an alert may be about, the likeliest first.

    Of a scraped target that is ``instance``, as for its metrics: the exporter's own ``host`` may
    be a virtual host or whatever a visitor sent. Without Prometheus it is ``host``. Where that is
    only ``localhost``, a label that names a machine says more.
    """
    first = ("instance", "host") if is_scraped(labels) else ("host", "instance")
    texts = [labels.get(label, "") for label in (*first, *_OTHER_HOST_LABELS)]
    named = (*dict.fromkeys(filter(None, map(known_machine, texts[:2]))),)
    if all(map(is_loopback, named)):
        others = map(known_machine, texts[2 : 2 + len(OTHER_LABELS)])
        named = (*filter(None, [next(filter(None, others), None)]), *named)
    return tuple(sorted(named, key=is_loopback)) or (machine_for(*texts),)


def nodes_named(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The machines that an alert's other labels name: kube-state-metrics speaks of nodes."""
    texts = (labels.get(label, "") for label in OTHER_LABELS)
    return tuple(dict.fromkeys(filter(None, map(known_machine, texts))))


def understood(
    alert: OutsideAlert, now: datetime, timeout: timedelta | None, machine: str = ""
) -> Outside:
    """The alert as a signal about a series.

    Args:
        alert: what came.
        now: when it came.
        timeout: how long it holds without being repeated; None: until it is said to be over.
        machine: which of the machines named is meant; the likeliest if not given.
    """
    labels = alert.labels
    name = labels.get("alertname", "alert")
    item = _item(name)
    host = machine or machines_named(labels)[0]
    ends = alert.ends
    over = alert.status.lower() == "resolved" or (ends is not None and ends <= now)
    note = alert.annotations
    return Outside(
        series=SeriesRef(host=host, item=item, labels=_kept(labels, host, item)),
        family=labels.get("family", "")[:_MAX_NAME] or family_of(item),
        signal=Signal(
            event_id=_event_id(alert),
            state=AlertState.FIRING,
            severity=severity_of(labels),
            # Not its start: a handled alert that still holds is news when it is repeated.
            time_ms=int(now.timestamp() * 1000),
            expires=None if over else _expiry(ends, now, timeout),
            ending="it was not repeated",
        ),
        observation=Observation(
            # As in Prometheus' own ALERTS series: 1 while the condition holds.
            value=_number(note.get("value", "")),
            threshold=None,
            sentence=_sentence(note, name),
        ),
        over=over,
        ended_ms=int(min(ends or now, now).timestamp() * 1000),
    )


def _event_id(alert: OutsideAlert) -> str:
    """An id that is the same for the same alert; one without a start is the same until it ends."""
    fingerprint = deterministic_id(*(f"{k}\x1e{v}" for k, v in sorted(alert.labels.items())))
    return deterministic_id("outside", fingerprint, alert.began.isoformat() if alert.began else "")


def _expiry(ends: datetime | None, now: datetime, timeout: timedelta | None) -> datetime | None:
    """The time until which the alert holds if it is not repeated; None: until it is ended."""
    if ends is not None:
        return min(ends, now + _MAX_AHEAD)
    return None if timeout is None else now + timeout


def _item(name: str) -> str:
    """The alert's name as the name of an item, which has fewer characters to choose from."""
    item = _NOT_ITEM.sub("_", name)[:200].lstrip("0123456789.-")
    return item if any(map(str.isalnum, item)) else "alert"


def _sentence(annotations: Mapping[str, str], name: str) -> str:
    """The first annotation that says something to people, else the alert's name."""
    said = (annotations.get(key, "").strip() for key in _SAID)
    return next(filter(None, said), name)[:_MAX_TEXT]


def _kept(labels: Mapping[str, str], host: str, item: str) -> dict[str, str]:
    """The labels that make this alert another than those of the same item on the same machine.

    A label whose text the item or the machine's name repeats says nothing more. What is too much
    is cut, and a hash of the whole stands for what was cut, so that two alerts stay two.
    """
    said = {"alertname": item, "host": host, "instance": host, "severity": labels.get("severity")}
    rest = {n: v for n, v in sorted(labels.items()) if said.get(n) != v}
    kept = {_cut(n, _MAX_NAME): _cut(v, _MAX_VALUE) for n, v in [*rest.items()][:_MAX_LABELS]}
    if len(rest) > _MAX_LABELS:
        left_out = [*rest.items()][_MAX_LABELS:]
        kept["labels_left_out"] = f"{len(left_out)} ({_digest(repr(left_out))})"
    return kept


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 9]}…{_digest(text)}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=4).hexdigest()


def _number(text: str) -> float:
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        return 1.0
    return value if abs(value) < float("inf") else 1.0
