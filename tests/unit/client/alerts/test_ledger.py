"""The ledger's page: counts by item and week, each of which opens as many cases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.client.questions import Questions
from shared.contracts import ForecastScore, Message, ScoresAnswered, ScoresAsk
from shared.items import CANARY
from shared.service import Context
from shared.weeks import KEPT_WEEKS, week_name, week_numbered, week_of
from tests.unit.client.alerts.events import (
    ALERT,
    NOW,
    NOW_MS,
    SERIES,
    an_id,
    anomaly,
    changed,
    predicted,
    verified,
    withdrawn,
)
from tests.unit.client.alerts.test_alert_pages import hear, text_of
from tests.unit.client.test_api import Desk

DAY_MS = 86_400_000
BEYOND = {"detector": "threshold", "judged": True, "anomalous": True, "sentence": "above 80"}
ITEM = SERIES["item"]


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.store.close()


def alarm(name: str, **fields: Any) -> Message:
    return anomaly(event_id=an_id(name), votes=(BEYOND,), **fields)


def numbers(desk: Desk, path: str = "/ledger") -> dict[str, int]:
    """Each linked number of the page with its address."""
    found = re.findall(r'<a href="(/ledger/cases[^"]*)">(\d+)</a>', text_of(desk, path))
    return {unescape(way): int(number) for way, number in found}


def test_each_number_opens_as_many_cases(desk: Desk) -> None:
    outcomes = ["came_true"] * 3 + ["did_not_come"] * 2 + ["averted"]
    for n, outcome in enumerate(outcomes):
        series = SERIES | {"host": f"h{n % 2}"}
        at = {"time_ms": NOW_MS - n * 7 * DAY_MS}
        hear(desk, predicted(event_id=an_id(n), series=series, **at))
        hear(desk, withdrawn(event_id=an_id(n), series=series, outcome=outcome, **at))
    hear(desk, alarm("a", series=SERIES | {"host": "h8"}), changed(1, "firing"))
    hear(desk, verified(), verified(command_id=an_id("b"), saved=True))
    hear(desk, verified(command_id=an_id("c"), effective=False))
    found = numbers(desk)
    of_item = {way: count for way, count in found.items() if "item=" in way and "week=" not in way}
    assert sorted(of_item.values()) == [1, 1, 2, 3]
    for way, count in found.items():
        assert text_of(desk, way).count("The series now") == count, way
    assert found["/ledger/cases?outcome=saved"] == 1
    assert f"/alerts/{ALERT}" in text_of(desk, "/ledger/cases?outcome=repaired")
    weeks = [way for way in found if f"week={week_name(week_of(NOW_MS))}" in way]
    assert {way.partition("outcome=")[2].partition("&")[0] for way in weeks} == {"hit", "missed"}


TOLD = (
    predicted(),
    predicted(2),
    withdrawn(outcome="came_true"),
    alarm("announced", time_ms=NOW_MS + 5 * 60_000),
    alarm("before", time_ms=NOW_MS - DAY_MS),
    alarm("long after", time_ms=NOW_MS + DAY_MS),
)


@pytest.mark.slow
@settings(max_examples=25)
@given(st.permutations(range(len(TOLD))), st.lists(st.sampled_from(range(len(TOLD))), max_size=4))
def test_the_counts_are_the_same_in_any_order_and_however_often_it_is_told(
    order: list[int], again: list[int]
) -> None:
    desk = Desk()
    try:
        hear(desk, *(TOLD[n] for n in (*order, *again)))
        whole = {way: count for way, count in numbers(desk).items() if "week=" not in way}
        assert sorted(whole.values()) == [1, 2], "one hit, and two alarms that nobody announced"
    finally:
        desk.store.close()


def test_what_is_no_alarm_is_not_missed(desk: Desk) -> None:
    canary = SERIES | {"item": CANARY, "labels": {}}
    hear(desk, anomaly(), alarm("canary", series=canary))
    assert "No prediction has been judged yet" in text_of(desk, "/ledger")


@pytest.mark.parametrize("time_ms", [0, 2**62])
def test_a_time_that_no_calendar_has_costs_no_case(desk: Desk, time_ms: int) -> None:
    hear(desk, alarm("odd", time_ms=time_ms))
    (way, *_) = numbers(desk)
    assert "The series now" in text_of(desk, way)


@pytest.mark.parametrize(
    "query", ["outcome=hit&week=2026-W54", "outcome=hit&week=0000-W01", "outcome=x", "week=2026"]
)
def test_what_is_no_week_or_outcome_is_refused(desk: Desk, query: str) -> None:
    assert desk.call("GET", f"/ledger/cases?{query}").status_code == 422


class Telling:
    """A bus behind which the predictor's partitions answer."""

    def __init__(self, *answers: tuple[ForecastScore, ...], partitions: int) -> None:
        self.questions = Questions(self, within_s=0.01)
        self._answers, self._partitions = answers, partitions

    def publish(self, messages: Any, *, timeout_s: float) -> None:
        for message in messages:
            assert isinstance(message, ScoresAsk)
            for partition, scores in enumerate(self._answers):
                told = ScoresAnswered(
                    request_id=message.request_id,
                    partition=partition,
                    partitions=self._partitions,
                    scores=scores,
                )
                self.questions.take(told, Context(NOW, "m", 1, None))


@pytest.mark.parametrize("partitions", [2, 3])
def test_brier_score_and_coverage_are_of_all_partitions_together(partitions: int) -> None:
    week = {"item": ITEM, "week": "2026-W01", "came": 1}
    one = ForecastScore(**week, judged=90, inside=90, chances=4, squares=0.1)
    other = ForecastScore(**week, judged=10, inside=4, chances=1, squares=0.4)
    desk = Desk()
    desk.app.state.client.__dict__["questions"] = Telling(
        (one,), (other,), partitions=partitions
    ).questions
    text = text_of(desk, "/ledger")
    assert text.count("0.100</td>") == 2, "0.5 over 5 forecasts, of the item and of its week"
    assert text.count("94.0 %") == 2
    assert "94 of 100 values" in text
    assert ("may be missing" in text) == (partitions == 3)
    desk.store.close()


def test_a_week_has_one_number_and_one_name() -> None:
    for time_ms in range(0, 60 * 365 * DAY_MS, 37 * DAY_MS):
        assert week_numbered(week_name(week_of(time_ms))) == week_of(time_ms)
    assert week_of(NOW_MS) - week_of(NOW_MS - 7 * DAY_MS * KEPT_WEEKS) == KEPT_WEEKS
