"""Alerts from outside: what Alertmanager's API v2 and its webhook say, as signals of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.healer.model.incident import Sight, Signal
from shared.contracts import Fault
from shared.contracts.alerts import AlertState, SeriesRef, Severity
from shared.contracts.message import deterministic_id
from shared.items import family_of

_HOST_LABELS = ("host", "instance", "node", "nodename", "hostname", "pod")
_NOT_HOST = re.compile(r"[^A-Za-z0-9_.:-]+")
_NOT_ITEM = re.compile(r"[^A-Za-z0-9_:.\-]+")
_SEVERITIES = {
    Severity.CRITICAL: {"critical", "page", "error", "high", "emergency", "fatal", "alert"},
    Severity.INFO: {"info", "none", "debug", "low", "notice"},
}
_ZERO_YEAR = 1
_LABELS, _NAME, _VALUE = 64, 128, 512


class OutsideAlert(BaseModel):
    """One alert as Prometheus posts it, or as Alertmanager's webhook carries it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    labels: dict[str, str] = Field(min_length=1, max_length=_LABELS)
    annotations: dict[str, str] = {}
    startsAt: AwareDatetime | None = None  # noqa: N815 - Alertmanager's name
    endsAt: AwareDatetime | None = None  # noqa: N815 - Alertmanager's name
    status: str = ""


@dataclass(frozen=True)
class Outside:
    """What the healer makes of it."""

    series: SeriesRef
    family: str
    signal: Signal
    sight: Sight
    over: bool


def readable(body: object) -> tuple[list[OutsideAlert], list[Fault]]:
    """The alerts that can be read, and what is wrong with the others."""
    if not isinstance(body, list):
        return [], [Fault(field="", problem="must be a list of alerts")]
    found, faults = [], []
    for number, each in enumerate(body):
        try:
            alert = OutsideAlert.model_validate(each)
        except ValidationError as error:
            faults += [
                Fault(field=f"{number}.{'.'.join(map(str, e['loc']))}", problem=e["msg"])
                for e in error.errors(include_url=False)
            ]
            continue
        too_long = [
            name
            for name, value in alert.labels.items()
            if not name or len(name) > _NAME or len(value) > _VALUE
        ]
        if too_long:
            problem = f"names have 1 to {_NAME} characters, values at most {_VALUE}"
            faults.append(Fault(field=f"{number}.labels", problem=problem))
            continue
        found.append(alert)
    return found, faults


def understood(alert: OutsideAlert, now: datetime, timeout: timedelta | None) -> Outside:
    """The alert as a signal about a series.

    Args:
        alert: what came.
        now: when it came.
        timeout: how long it holds without being repeated; None: until it is said to be over.
    """
    labels = alert.labels
    name = labels.get("alertname", "alert")
    item = _NOT_ITEM.sub("_", name)[:200].lstrip("0123456789.-") or "alert"
    from_label = next((label for label in _HOST_LABELS if labels.get(label)), "")
    host = _NOT_HOST.sub("-", labels.get(from_label, ""))[:253].strip("-_.:") or "unknown"
    hidden = {"alertname", "severity", from_label}
    rest = {k: v for k, v in sorted(labels.items()) if k not in hidden}
    starts = alert.startsAt or now
    ends = None if alert.endsAt is None or alert.endsAt.year == _ZERO_YEAR else alert.endsAt
    over = alert.status == "resolved" or (ends is not None and ends <= now)
    expires = ends or (now + timeout if timeout is not None else None)
    fingerprint = deterministic_id(*(f"{k}\x1e{v}" for k, v in sorted(labels.items())))
    # Without a start of its own an alert is the same until it ends, as in Alertmanager.
    began = alert.startsAt.astimezone(UTC).isoformat() if alert.startsAt else ""
    note = alert.annotations
    return Outside(
        series=SeriesRef(host=host, item=item, labels=rest),
        family=labels.get("family") or family_of(item),
        signal=Signal(
            event_id=deterministic_id("outside", fingerprint, began),
            state=AlertState.FIRING,
            severity=_severity(labels.get("severity", "")),
            # Not its start: one that was handled and still holds is news when it is repeated.
            time_ms=int(max(now, starts).timestamp() * 1000),
            expires=None if over else expires,
            ending="it was not repeated",
        ),
        sight=Sight(
            # As in Prometheus' own ALERTS series: 1 while the condition holds.
            value=_number(note.get("value", "")),
            threshold=None,
            sentence=(
                note.get("summary") or note.get("description") or note.get("message") or name
            )[:2000],
        ),
        over=over,
    )


def _severity(text: str) -> Severity:
    word = text.strip().lower()
    return next((s for s, words in _SEVERITIES.items() if word in words), Severity.WARNING)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return value if abs(value) < float("inf") else 1.0


def named(faults: Sequence[Fault]) -> str:
    """The faults in one line."""
    return "; ".join(f"{f.field}: {f.problem}" if f.field else f.problem for f in faults)
