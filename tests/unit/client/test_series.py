"""A series' page: put together of what was told in time, and never waiting longer than that."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.questions import Questions, TooManyQuestions
from services.client.series.addresses import labels_in
from services.client.series.picture import Window, picture_of
from shared.contracts import (
    Curve,
    CurveAnswered,
    CurveAsk,
    SeriesFound,
    SeriesRef,
    SeriesSearch,
    SettingsAnswered,
    SettingsAsk,
)
from shared.contracts.alerts import Point
from shared.service import Context
from tests.unit.client.test_api import NOW, Desk

SERIES = SeriesRef(host="h1", item="df.bytes.used.percent", labels={"mount": "/var"})
HOUR_MS = 3_600_000
ASKED = "host=h1&item=df.bytes.used.percent&label=mount%3D/var"


class Knowing:
    """A bus behind which detector and predictor answer at once."""

    def __init__(self, *sources: str, partitions: int = 2, answered: int = 2) -> None:
        self.sources, self.partitions, self.answered = sources, partitions, answered
        self.questions = Questions(self, within_s=0.2)

    def publish(self, messages, *, timeout_s: float) -> None:
        assert timeout_s == self.questions._within_s
        for message in messages:
            # Awaited here: no answer is late because the machine is busy.
            thread = threading.Thread(target=self._answer, args=(message,))
            thread.start()
            thread.join()

    def _answer(self, message) -> None:
        context = Context(NOW, "m", 1, None)
        if isinstance(message, CurveAsk):
            for source in self.sources:
                curve = Curve(points=(Point(time_ms=HOUR_MS, value=50.0),), threshold=80)
                told = CurveAnswered(request_id=message.request_id, source=source, curve=curve)
                self.questions.take(told, context)
        if isinstance(message, SeriesSearch):
            for partition in range(self.answered):
                found = SeriesFound(
                    request_id=message.request_id,
                    partition=partition,
                    partitions=self.partitions,
                    series=(SERIES.model_copy(update={"host": f"h{partition}"}),),
                )
                self.questions.take(found, context)


def test_who_has_all_answers_waits_no_longer() -> None:
    knowing = Knowing("detector", "predictor")
    knowing.questions._within_s = 3600.0
    told: list[object] = []

    def ask() -> None:
        told.extend(each.source for each in knowing.questions.curve(SERIES))
        told.extend(knowing.questions.search("", "", "", 10))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(60)
    assert not asking.is_alive(), "it waits for an hour"
    assert (set(told[:2]), len(told[2:])) == ({"detector", "predictor"}, 2)
    assert not knowing.questions._open


def test_settings_wait_for_every_service_and_a_moment_for_replicas_but_no_longer() -> None:
    knowing = Knowing()
    knowing.questions._within_s = 3600.0
    services = ["autospec", "detector", "detector", "healer", "predictor", "task"]
    told: list[str] = []

    def answer(message: SettingsAsk) -> None:
        for n, service in enumerate(services):
            fields = {"service": service, "instance": str(n), "settings": {}}
            known = SettingsAnswered(request_id=message.request_id, **fields)
            knowing.questions.take(known, Context(NOW, "m", 1, None))

    def publish(messages: Iterable[SettingsAsk], *, timeout_s: float) -> None:
        for message in messages:
            answer(message)

    knowing.publish = publish
    asking = threading.Thread(
        target=lambda: told.extend(each.service for each in knowing.questions.settings()),
        daemon=True,
    )
    asking.start()
    asking.join(60)
    assert told == services, "it waits for an hour"
    knowing.questions._within_s = 0.05
    services.remove("task")
    assert len(knowing.questions.settings()) == 5, "whoever is silent is not waited for for ever"


@pytest.mark.parametrize("sources", [(), ("detector",), ("predictor",)])
def test_whoever_is_silent_is_named_and_the_rest_is_shown(sources: tuple[str, ...]) -> None:
    told = Knowing(*sources).questions.curve(SERIES)
    picture = picture_of(SERIES, told, Window())
    assert picture is not None
    silent = {"detector", "predictor"} - set(sources)
    for name in silent:
        assert any(f"{name}" in note and "did not answer" in note for note in picture.notes)
    assert bool(picture.line) == bool(sources)


def test_answers_to_others_and_late_ones_are_dropped() -> None:
    questions = Knowing().questions
    told = CurveAnswered(request_id="0" * 8 + "-0000-0000-0000-" + "0" * 12, source="detector")
    assert questions.take(told, Context(NOW, "m", 1, None)) == ()
    assert not questions._open


def test_too_many_open_questions_are_refused_at_once() -> None:
    questions = Knowing().questions
    questions._open.update({str(n): [] for n in range(200)})
    with pytest.raises(TooManyQuestions):
        questions.curve(SERIES)


def test_a_mean_is_judged_as_a_value_that_lasted_and_the_newest_values_as_they_are() -> None:
    means = tuple(Point(time_ms=n * HOUR_MS, value=n) for n in range(4))
    values = tuple(Point(time_ms=3 * HOUR_MS + n, value=9) for n in range(2))
    told = [
        CurveAnswered(request_id="0" * 36, source=source, curve=curve)
        for source, curve in (
            ("predictor", Curve(points=means, step_ms=HOUR_MS)),
            ("detector", Curve(points=values)),
        )
    ]
    picture = picture_of(SERIES, told, Window(until_ms=0))
    assert picture is not None
    points = picture.lasting()
    assert [point.value for point in points] == [0, 0, 1, 1, 2, 2, 9, 9]
    times = [point.time_ms for point in points]
    assert times == sorted(set(times))
    assert times[1] == HOUR_MS - 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/metrics/series?{ASKED}", 200),
        (f"/metrics/series?{ASKED}&from=2026-01-01T00:00", 200),
        (f"/metrics/series?{ASKED}&from=yesterday", 422),
        (f"/metrics/series?{ASKED}&threshold=many", 422),
        (f"/metrics/series?{ASKED}&label=x", 422),
        ("/metrics/series?host=h&item=%0A", 422),
        ("/metrics?host=h1", 200),
        ("/api/v1/series", 200),
        (f"/api/v1/curve?{ASKED}", 200),
        (f"/api/v1/curve.csv?{ASKED}", 200),
    ],
)
def test_nobody_answering_is_said_and_bad_questions_are_refused(path: str, status: int) -> None:
    desk = Desk()
    answer = desk.call("GET", path, headers={"accept": "text/html"})
    assert answer.status_code == status, answer.text
    if path.startswith("/metrics/series") and status == 200:
        assert "did not answer in time" in answer.text


_WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=9)


@given(_WORDS, st.dictionaries(_WORDS, st.text(alphabet='a,="\\ ', max_size=6), max_size=3))
def test_a_series_is_found_again_by_its_canonical_text(item: str, labels: dict[str, str]) -> None:
    series = SeriesRef(host="h1", item=item, labels=labels)
    text = series.text().removeprefix(f"h1 {item}").removeprefix(" ")
    assert labels_in(text) == labels
