"""The narrative of an incident in sentences, one for each fact."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import singledispatch

from services.healer.model.narrative import (
    Acknowledged,
    Answered,
    Crossed,
    Decided,
    Ended,
    Executed,
    Fact,
    Held,
    Narrative,
    Notified,
    NotNotified,
    Predicted,
    Strange,
    Verified,
)
from services.healer.notify.render.numbers import percent
from shared.contracts.alerts import SeriesRef
from shared.items import ITEMS
from shared.quantity import counted, quantity
from shared.time_zones import at_ms

_WITHOUT_DATE = timedelta(hours=20)


def clock(at: datetime, now: datetime) -> str:
    """A time near ``now`` as a clock shows it, any other with its date."""
    return f"{at:%H:%M:%S}" if abs(at - now) < _WITHOUT_DATE else f"{at:%Y-%m-%d %H:%M:%S}"


def clock_ms(time_ms: int, now: datetime) -> str:
    """A Unix time in milliseconds, as ``clock`` shows it."""
    return clock(at_ms(time_ms), now)


def subject(series: SeriesRef) -> str:
    """The subject the way people say it, e.g. ``/var on db7``."""
    return f"{named_part(series) or shown_name(series)} on {series.host}"


def shown_name(series: SeriesRef) -> str:
    """The item, or the name that an alert has in its own system where no item can be called so."""
    return series.labels.get("alertname", series.item)


def named_part(series: SeriesRef) -> str:
    """The part of the machine that the series is about, such as a file system; '' for all of it."""
    return next((series.labels[name] for name in _NAMING if name in series.labels), "")


def is_presence(series: SeriesRef) -> bool:
    """Return whether the series says that a machine, or a sender of several, is there."""
    item = ITEMS.get(series.item)
    return item is not None and item.family == "host"


_NAMING = ("mount", "program", "device", "interface")


def last_prediction(narrative: Narrative) -> Predicted | None:
    """The prediction that counted last."""
    return next((f for f in reversed(narrative) if isinstance(f, Predicted)), None)


def as_predicted(fact: Predicted, unit: str, now: datetime) -> str:
    """The words ``predicted to reach 90 % at 20:26:30 (31 %, between 20:25:10 and 20:28:00)``."""
    above = fact.threshold >= fact.value if fact.above is None else fact.above
    verb = "reach" if above else "fall to"
    details = [percent(fact.probability)] if fact.probability is not None else []
    if fact.earliest_ms is not None and fact.latest_ms is not None:
        early, late = clock_ms(fact.earliest_ms, now), clock_ms(fact.latest_ms, now)
        details += [f"between {early} and {late}"] * (early != late)
    more = f" ({', '.join(details)})" if details else ""
    at = clock_ms(fact.crossing_ms, now)
    return f"predicted to {verb} {quantity(fact.threshold, unit)} at {at}{more}"


@singledispatch
def sentence(fact: Fact, unit: str, now: datetime) -> str:
    """One fact for people, without its time."""
    raise TypeError(f"no words for {type(fact).__name__} in {unit} at {now}")


@sentence.register
def _(fact: Predicted, unit: str, now: datetime) -> str:
    by = f", by {fact.forecaster}" if fact.forecaster else ""
    return f"at {quantity(fact.value, unit)}, {as_predicted(fact, unit, now)}{by}"


@sentence.register
def _(fact: Crossed, unit: str, _now: datetime) -> str:
    if fact.threshold is None:
        return f"alarm: {fact.sentence or f'the value is {quantity(fact.value, unit)}'}"
    limit = quantity(fact.threshold, unit)
    return f"alarm: the value is {quantity(fact.value, unit)}, beyond its threshold of {limit}"


@sentence.register
def _(fact: Strange, unit: str, _now: datetime) -> str:
    votes = f" ({', '.join(fact.votes)})" if fact.votes else ""
    return f"anomaly: {quantity(fact.value, unit)} is unusual for this series{votes}"


@sentence.register
def _(fact: Answered, _unit: str, _now: datetime) -> str:
    return fact.note or f"the machine answered: {fact.title}, {counted(fact.rows, 'row')}"


@sentence.register
def _(fact: Held, _unit: str, now: datetime) -> str:
    return f"{held_back(fact.by)} until {clock(fact.until, now)}"


def held_back(by: str) -> str:
    """The reason for holding an alert back, as part of a sentence."""
    return by if by.startswith("inhibited") else f"held back by {by}"


@sentence.register
def _(fact: Notified, _unit: str, _now: datetime) -> str:
    to = counted(fact.deliveries, "recipient") if fact.deliveries else "no channel"
    return f"people were notified ({fact.said}): {to}"


@sentence.register
def _(fact: NotNotified, _unit: str, _now: datetime) -> str:
    return f"nobody was notified: {fact.why}"


@sentence.register
def _(fact: Decided, _unit: str, _now: datetime) -> str:
    return fact.words + (f" ({fact.by})" if fact.by else "")


@sentence.register
def _(fact: Executed, _unit: str, _now: datetime) -> str:
    return fact.words


@sentence.register
def _(fact: Verified, unit: str, _now: datetime) -> str:
    end = "no alarm fired" if fact.saved else "out of danger"
    left = end if fact.effective else "that did not help"
    values = f"{quantity(fact.before, unit)} → {quantity(fact.after, unit)}"
    return f"read again after {fact.remediation}: {values}; {left}"


@sentence.register
def _(fact: Acknowledged, _unit: str, _now: datetime) -> str:
    return f"acknowledged by {fact.by}"


@sentence.register
def _(fact: Ended, unit: str, _now: datetime) -> str:
    said = fact.value is None or " at " in fact.how
    at = "" if said or fact.value is None else f", at {quantity(fact.value, unit)}"
    return f"ended: {fact.how}{at}"


def gone(since: datetime, value: float, unit: str, now: datetime) -> str:
    """The sentence about the end of an alert whose series has ended."""
    return (
        f"no sample since {clock(since, now)} UTC; the last value was {quantity(value, unit)}. "
        "The series is gone, or whoever sends it has stopped."
    )


def lines(narrative: Narrative, unit: str, now: datetime) -> list[tuple[str, str]]:
    """Time and sentence of every fact, in order."""
    facts = sorted(narrative, key=lambda fact: fact.at)
    return [(clock(fact.at, now), sentence(fact, unit, now)) for fact in facts]
