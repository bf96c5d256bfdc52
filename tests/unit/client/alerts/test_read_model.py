"""Tests of what is kept of alerts: the same in any order and however often, and never too much."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.client.alerts import handlers
from services.client.alerts import model as bounds
from services.client.alerts.filters import Filter
from services.client.alerts.model import AlertModel, Incident
from services.client.alerts.records import ALERTS, CURVES, EPISODES, EVENTS, KEPT, AlertView
from services.client.alerts.timeline import timeline
from services.client.main import _OF_ALERTS
from shared.contracts import Message
from shared.service import Context
from shared.store import Store
from tests.unit.client.alerts.events import (
    ALERT,
    NOW,
    NOW_MS,
    PREDICTION,
    SERIES,
    action,
    an_id,
    anomaly,
    changed,
    cleared,
    curve,
    predicted,
    verified,
    withdrawn,
)

STORY: tuple[Message, ...] = (
    predicted(1),
    changed(1, "predicted", value=76.25),
    predicted(2, threshold=79.0),
    anomaly(time_ms=NOW_MS + 90_000),
    changed(2, "firing"),
    action(1, "running"),
    verified(),
    cleared(),
    withdrawn(),
    changed(3, "resolved", outcome="the remediation helped", at=NOW + timedelta(minutes=7)),
)


class Listener:
    """The read model, hearing messages as the service does."""

    def __init__(self) -> None:
        self.store = Store("sqlite://")
        self.model = AlertModel(self.store)
        self._names = count()

    def hear(self, *messages: Message, now: datetime = NOW) -> None:
        for message in messages:
            with self.store.transaction() as records:
                ctx = Context(now, f"m{next(self._names)}", 1, records)
                assert list(_OF_ALERTS[type(message)](message, ctx)) == []

    def incident(self) -> Incident:
        found = self.model.incident(ALERT)
        assert found is not None
        return found


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.store.close()


def test_any_order_and_any_repetition_tell_the_same_story(listener: Listener) -> None:
    listener.hear(*STORY)
    expected = listener.incident()

    @settings(max_examples=40, deadline=None)
    @given(st.permutations(STORY), st.lists(st.sampled_from(STORY), max_size=6))
    def always(shuffled: list[Message], again: list[Message]) -> None:
        listener.model.prune(NOW + 2 * KEPT)
        assert listener.model.incident(ALERT) is None
        listener.hear(*shuffled, *again)
        found = listener.incident()
        assert found.alert == expected.alert
        assert timeline(found) == timeline(expected)
        assert found.curve == expected.curve
        assert listener.model.forecasts(10) == []

    always()


def test_a_story_goes_from_the_first_signal_to_the_end(listener: Listener) -> None:
    listener.hear(*STORY)
    told = [(entry.kind, entry.text) for entry in timeline(listener.incident())]
    assert [kind for kind, _ in told] == [
        "predicted",
        "predicted, revision 2",
        "predicted critical",
        "anomaly",
        "firing critical",
        "action running",
        "remediation verified",
        "anomaly cleared",
        "prediction withdrawn",
        "resolved",
    ]
    texts = dict(told)
    assert texts["predicted, revision 2"] == (
        "Will cross 79 % between 2026-01-01 14:10 and 17:30 UTC."
    )
    assert texts["remediation verified"] == "clean-logs: 81.5 % before, 61 % after; it helped"
    assert texts["resolved"] == "the remediation helped"
    assert "it was averted" in texts["prediction withdrawn"]


def test_an_alert_is_what_its_newest_change_says(listener: Listener) -> None:
    listener.hear(changed(3, "resolved", outcome="over"), changed(1, "predicted"))
    (alert,) = listener.model.alerts(Filter(), 10, 0)
    assert (alert.state, alert.sequence, alert.outcome) == ("resolved", 3, "over")
    assert alert.first_at == NOW + timedelta(minutes=1)
    assert listener.model.alerts(Filter(state="open"), 10, 0) == []


def test_the_most_urgent_come_first_and_pages_join(listener: Listener) -> None:
    wanted = [
        ("firing", "critical"),
        ("predicted", "critical"),
        ("firing", "warning"),
        ("predicted", "info"),
        ("resolved", "critical"),
    ]
    for state, severity in reversed(wanted):
        changes = {"alert_id": an_id((state, severity)), "severity": severity}
        listener.hear(changed(1, state, **changes))
    found = [alert for n in range(5) for alert in listener.model.alerts(Filter(), 1, n)]
    assert [(a.state, a.severity) for a in found] == wanted


@pytest.mark.parametrize(
    ("asked", "matches"),
    [
        ({"state": "firing"}, True),
        ({"state": "open"}, True),
        ({"state": "resolved"}, False),
        ({"severity": "critical"}, True),
        ({"severity": "info"}, False),
        ({"host": "H7"}, True),
        ({"host": "h8"}, False),
        ({"item": "used"}, True),
        ({"item": "free"}, False),
        ({"search": "/VAR"}, True),
        ({"search": "nearly"}, True),
        ({"search": "%"}, False),
    ],
)
def test_filters_find_parts_of_names(
    listener: Listener, asked: dict[str, str], matches: bool
) -> None:
    listener.hear(changed(1, "firing"))
    assert bool(listener.model.alerts(Filter.model_validate(asked), 10, 0)) == matches


_WORDS = st.text(alphabet=st.sampled_from('aA1ßäİ"\\/%= \n\x1f\u2028'), max_size=6)


@given(_WORDS, _WORDS, _WORDS, st.integers(0, 6), st.integers(0, 6))
def test_no_alert_that_is_wanted_is_passed_over_by_its_json(
    item: str, sentence: str, asked: str, begin: int, end: int
) -> None:
    view = AlertView.model_construct(item=item, sentence=sentence, **_VIEWED)
    data = view.model_dump_json(warnings=False)
    for search in (asked, sentence[begin:end].upper(), sentence[begin:end].lower()):
        wanted = Filter(search=search, item=item[begin:end])
        assert not wanted.matches(view) or wanted.may_match()(data)


_VIEWED: dict[str, object] = dict.fromkeys(
    ("alert_id", "severity", "family", "host", "labels", "series", "outcome", "acknowledged_by"), ""
)


def test_forecasts_come_by_earliest_crossing_until_they_are_withdrawn(listener: Listener) -> None:
    first_ms = predicted().earliest_ms
    for n in (3, 1, 2):
        listener.hear(predicted(event_id=an_id(n), earliest_ms=first_ms + n))
    listener.hear(predicted(), withdrawn())
    assert [e.event_id for e in listener.model.forecasts(10)] == [an_id(n) for n in (1, 2, 3)]


def test_pages_of_forecasts_join_and_the_odd_times_of_senders_are_in_order(
    listener: Listener,
) -> None:
    first_ms = predicted().earliest_ms
    times = [first_ms + n for n in (5, 1, 3)] + [-1, 0, 2**62]
    for n, at in enumerate(times):
        listener.hear(predicted(event_id=an_id(n), earliest_ms=at))
    pages = [listener.model.forecasts(2, offset) for offset in (0, 2, 4)]
    shown = [e.earliest_ms for page in pages for e in page]
    assert set(shown[:2]) == {-1, 0}
    assert shown[2:] == [first_ms + 1, first_ms + 3, first_ms + 5, 2**62]
    each = [f.earliest_ms for n in range(8) for f in listener.model.forecasts(1, n)]
    assert each == shown, "from whichever end they are counted"
    found = listener.model.wanted_forecasts(Filter(item="used"), 9, 0)
    assert [f.due for f in found] == sorted(f.due for f in found)
    assert len(found) == len(times)
    assert listener.model.open_forecasts() == len(times)
    before = NOW.fromtimestamp((first_ms + 3) / 1000, NOW.tzinfo)
    assert len(listener.model.forecasts(9, before=before)) == 4


def test_an_open_prediction_outlives_its_earliest_crossing_but_not_for_ever(
    listener: Listener,
) -> None:
    listener.hear(predicted())
    crossing = NOW.fromtimestamp(predicted().earliest_ms / 1000, NOW.tzinfo)
    listener.model.prune(crossing + KEPT - timedelta(seconds=1))
    assert len(listener.model.forecasts(10)) == 1
    listener.model.prune(crossing + KEPT + timedelta(seconds=1))
    assert listener.model.forecasts(10) == []


def test_signals_of_another_time_are_not_in_the_story(listener: Listener) -> None:
    long_ago = anomaly().time_ms - 86_400_000
    listener.hear(
        anomaly(event_id=an_id("old"), time_ms=long_ago),
        cleared(event_id=an_id("old"), time_ms=long_ago + 1),
        changed(1, "firing"),
        changed(2, "resolved"),
        anomaly(event_id=an_id("later"), time_ms=anomaly().time_ms + 86_400_000),
    )
    assert listener.incident().episodes == ()


def test_ended_alerts_are_forgotten_after_their_time_and_open_ones_are_not(
    listener: Listener,
) -> None:
    listener.hear(*STORY, changed(1, "firing", alert_id=an_id("open")))
    listener.model.prune(NOW + KEPT)
    assert len(listener.model.alerts(Filter(), 10, 0)) == 2
    listener.model.prune(NOW + KEPT + timedelta(minutes=10))
    assert [a.alert_id for a in listener.model.alerts(Filter(), 10, 0)] == [an_id("open")]
    with listener.store.reading() as records:
        assert [records.find(c) for c in (EVENTS, EPISODES, CURVES)] == [[], [], []]


def test_a_storm_leaves_the_newest_of_each_kind_only(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tuple((collection, status, 3) for collection, status, _ in bounds.MAX_KEPT)
    monkeypatch.setattr(bounds, "MAX_KEPT", few)
    for n in range(8):
        listener.hear(
            changed(1, "firing", alert_id=an_id(n)),
            changed(2, "resolved", alert_id=an_id(f"ended {n}")),
            predicted(event_id=an_id(f"prediction {n}")),
            cleared(event_id=an_id(f"anomaly {n}")),
        )
    listener.model.prune(NOW)
    with listener.store.reading() as records:
        sizes = [len(records.find(c)) for c in (ALERTS, EVENTS, EPISODES, CURVES)]
        assert sizes == [6, 3, 6, 3]
        newest = [a.alert_id for a in records.find(ALERTS, status="firing-critical")]
    assert newest == [an_id(n) for n in (5, 6, 7)]


def test_one_alerts_history_and_curve_are_bounded(listener: Listener) -> None:
    for n in range(1, handlers.MAX_EVENTS + 20):
        listener.hear(changed(n, "firing"))
    listener.hear(anomaly(recent=curve(2000, float), band=()))
    found = listener.incident()
    assert len(found.events) == handlers.MAX_EVENTS
    assert found.curve is not None
    assert len(found.curve.recent) <= handlers.MAX_POINTS
    assert found.curve.recent[-1][1] == 1999, "the newest point is kept"


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_has_not_are_kept_as_unknown(listener: Listener, odd: float) -> None:
    listener.hear(
        changed(1, "firing", value=odd, threshold=odd),
        anomaly(value=odd, threshold=odd, recent=[{"time_ms": 1, "value": odd}]),
        predicted(value=odd, threshold=odd),
        verified(before=odd, after=odd),
    )
    assert listener.incident().alert.value is None
    assert [e.event_id for e in listener.model.forecasts(10)] == [PREDICTION]
    assert SERIES["item"] == listener.incident().alert.item


def test_the_line_of_time_says_that_a_series_is_gone_and_not_that_it_is_normal(
    listener: Listener,
) -> None:
    gone = cleared(reason="series_ended", last_sample_ms=NOW_MS)
    listener.hear(anomaly(), changed(1, "firing"), gone)
    lines = [entry.text for entry in timeline(listener.incident())]
    assert "The series sends nothing any more; its last value was 61 %." in lines
    assert not [line for line in lines if "normal again" in line]
