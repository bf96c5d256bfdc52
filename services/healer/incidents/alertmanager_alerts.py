"""Alerts from outside: what Alertmanager's API v2 and its webhook say, as signals of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from services.healer.incidents.severity_words import severity_of
from services.healer.model.faults import faults_of
from services.healer.model.signal import Sight, Signal
from shared.contracts import Fault
from shared.contracts.alerts import AlertState, SeriesRef
from shared.contracts.message import deterministic_id
from shared.items import family_of
from shared.machine import OTHER_LABELS, is_scraped, machine_for, machine_of

_OTHER_HOST_LABELS = (*OTHER_LABELS, "pod")
_NOT_ITEM = re.compile(r"[^A-Za-z0-9_:.\-]+")
_VERSIONS = ("4", "1")
"""The versions of Alertmanager's webhook and of Grafana's, which has the same fields."""
_ZERO_YEAR = 1
"""Go's zero time, which Alertmanager's clients send for "not set"."""
_MAX_LABELS, _MAX_NAME, _MAX_VALUE, _MAX_TEXT = 64, 128, 512, 2000
_MAX_TRUNCATED = 1_000_000
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
_MAX_AHEAD = timedelta(days=3660)
MAX_ALERTS = 10_000
"""In one request; Prometheus sends 64, an Alertmanager those of a group."""
_MAX_FAULTS = 1_000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that no database or message can hold."""


def _storable(texts: object) -> object:
    """The map without what cannot be stored; Go writes an empty map as null."""
    if texts is None:
        return {}
    if not isinstance(texts, dict):
        return texts
    return {_text(name): _text(value) for name, value in texts.items()}


def _text(value: object) -> object:
    """A value as text: scripts write numbers and truths where Alertmanager has texts."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _given(moment: object) -> object:
    """An empty text is no moment."""
    return None if moment == "" else moment


def _within_calendar(moment: datetime) -> datetime:
    """In universal time, where a zone may lead out of the calendar's first or last day."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST_MOMENT if moment.year == _ZERO_YEAR else _LAST_MOMENT


Texts = Annotated[dict[str, str], BeforeValidator(_storable)]
Moment = Annotated[AwareDatetime, AfterValidator(_within_calendar)]
OptionalMoment = Annotated[Moment | None, BeforeValidator(_given)]


class OutsideAlert(BaseModel):
    """One alert as Prometheus posts it, or as Alertmanager's webhook carries it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    labels: Texts = Field(min_length=1)
    annotations: Texts = {}
    startsAt: OptionalMoment = None  # noqa: N815 - Alertmanager's name
    endsAt: OptionalMoment = None  # noqa: N815 - Alertmanager's name
    status: str = ""

    @field_validator("labels")
    @classmethod
    def _named(cls, labels: dict[str, str]) -> dict[str, str]:
        """An empty value is no label, as in Alertmanager."""
        found = {name: value for name, value in labels.items() if value}
        if not found:
            raise ValueError("an alert needs a label that has a value")
        if "" in found:
            raise ValueError(f"the label of value {found['']!r} has no name")
        return found

    @model_validator(mode="after")
    def _in_order(self) -> OutsideAlert:
        starts, ends = self.startsAt, self.endsAt
        if starts and ends and ends.year != _ZERO_YEAR and ends < starts:
            msg = "startsAt must be before endsAt"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Outside:
    """An alert of a foreign Alertmanager as the healer reads it."""

    series: SeriesRef
    family: str
    signal: Signal
    sight: Sight
    over: bool


def readable(body: object) -> tuple[list[OutsideAlert], list[Fault]]:
    """The alerts that can be read, and what is wrong with the others."""
    if isinstance(body, dict) and "alerts" in body:
        problem = "this is a webhook's body: /webhooks/alertmanager takes it"
        return [], [Fault(field="", problem=problem)]
    if not isinstance(body, list):
        return [], [Fault(field="", problem="must be a list of alerts")]
    found, faults = [], []
    for number, each in enumerate(body[:MAX_ALERTS]):
        try:
            alert = OutsideAlert.model_validate(each)
        except ValidationError as error:
            faults += faults_of(error.errors(include_url=False), number)
            continue
        found.append(alert)
    if len(faults) > _MAX_FAULTS:
        more = Fault(field="", problem=f"and {len(faults) - _MAX_FAULTS} further faults")
        faults = [*faults[:_MAX_FAULTS], more]
    if len(body) > MAX_ALERTS:
        problem = f"of {len(body)} alerts the first {MAX_ALERTS} are read: send fewer at once"
        faults.append(Fault(field="", problem=problem))
    return found, faults


def readable_webhook(body: object) -> tuple[list[OutsideAlert], list[Fault]]:
    """The same of what a webhook posts."""
    if not isinstance(body, dict):
        problem = "must be an object with `alerts`; /api/v2/alerts takes a list"
        return [], [Fault(field="", problem=problem)]
    if str(body.get("version", "4")) not in _VERSIONS:
        return [], [Fault(field="version", problem="only version 4 is understood")]
    if "alerts" not in body:
        problem = "is missing: this door takes what Alertmanager's and Grafana's webhooks post"
        return [], [Fault(field="alerts", problem=problem)]
    return readable(body["alerts"])


def truncated(body: object) -> int:
    """How many alerts a webhook's sender left out of it, as it says."""
    number = body.get("truncatedAlerts") if isinstance(body, dict) else None
    return min(max(number, 0), _MAX_TRUNCATED) if type(number) is int else 0


def machines_named(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The machines that an alert may be about, the likeliest first.

    Of a scraped target that is ``instance``, as for its metrics: the exporter's own ``host`` may
    be a virtual host or whatever a visitor sent. Without Prometheus it is ``host``.
    """
    first = ("instance", "host") if is_scraped(labels) else ("host", "instance")
    texts = [labels.get(label, "") for label in (*first, *_OTHER_HOST_LABELS)]
    named = dict.fromkeys(filter(None, map(machine_of, texts[:2])))
    return (*named,) if named else (machine_for(*texts),)


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
    item = _NOT_ITEM.sub("_", name)[:200].lstrip("0123456789.-")
    item = item if any(map(str.isalnum, item)) else "alert"
    host = machine or machines_named(labels)[0]
    ends = None if alert.endsAt is None or alert.endsAt.year == _ZERO_YEAR else alert.endsAt
    over = alert.status.lower() == "resolved" or (ends is not None and ends <= now)
    expires = min(ends, now + _MAX_AHEAD) if ends else None
    if ends is None and timeout is not None:
        expires = now + timeout
    fingerprint = deterministic_id(*(f"{k}\x1e{v}" for k, v in sorted(labels.items())))
    # Without a start of its own an alert is the same until it ends, as in Alertmanager.
    began = alert.startsAt.isoformat() if alert.startsAt else ""
    note = alert.annotations
    return Outside(
        series=SeriesRef(host=host, item=item, labels=_kept(labels, host, item)),
        family=labels.get("family", "")[:_MAX_NAME] or family_of(item),
        signal=Signal(
            event_id=deterministic_id("outside", fingerprint, began),
            state=AlertState.FIRING,
            severity=severity_of(labels),
            # Not its start: one that was handled and still holds is news when it is repeated.
            time_ms=int(now.timestamp() * 1000),
            expires=None if over else expires,
            ending="it was not repeated",
        ),
        sight=Sight(
            # As in Prometheus' own ALERTS series: 1 while the condition holds.
            value=_number(note.get("value", "")),
            threshold=None,
            sentence=(
                note.get("summary") or note.get("description") or note.get("message") or name
            )[:_MAX_TEXT],
        ),
        over=over,
    )


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
        value = float(text)
    except ValueError:
        return 1.0
    return value if abs(value) < float("inf") else 1.0


def named(faults: Sequence[Fault]) -> str:
    """The faults in one line."""
    return "; ".join(f"{f.field}: {f.problem}" if f.field else f.problem for f in faults)
