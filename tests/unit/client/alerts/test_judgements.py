"""People's judgements of alarms on the pages: what is shown, undone, and given again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.contracts import AnomalyJudge, AnomalyJudged
from tests.unit.client.alerts.events import ALERT, NOW, SERIES, an_id, changed
from tests.unit.client.alerts.test_alert_pages import hear
from tests.unit.client.test_api import Desk

_NOT, _UNDO = ">Not an anomaly</button>", ">Undo “not an anomaly”</button>"


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(api_token="root", healer_api_url="http://127.0.0.1:1", healer_token="x")
    hear(made, changed(1, "firing"))
    yield made
    made.store.close()


def judged(minutes: int = 0, **changes: Any) -> AnomalyJudged:
    told = {"label_id": an_id(minutes), "series": SERIES, "direction": "spike", "value": 81.5}
    told |= {"anomaly": False, "alert_id": ALERT, "by": "Bob", "reason": "the nightly backup"}
    at = NOW + timedelta(minutes=minutes)
    return AnomalyJudged.model_validate(told | {"at": at} | changes)


class Ann:
    """A person who signed in, and what she presses."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        entered = desk.call("POST", "/login", data={"token": "root", "name": "Ann"})
        self._headers = {"cookie": entered.headers["set-cookie"].partition(";")[0]}

    def sees(self, path: str) -> str:
        answer = self._desk.call("GET", path, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    def judges(self, **fields: str) -> None:
        csrf = re.search(r'name="csrf" value="(\w+)"', self.sees(f"/alerts/{ALERT}"))
        assert csrf
        form = {"csrf": csrf[1], "alert": ALERT, **fields}
        assert self._desk.call(
            "POST", "/alerts/judge", headers=self._headers, data=form
        ).is_redirect


def test_what_was_not_judged_cannot_be_undone_and_what_was_can(desk: Desk) -> None:
    ann, incident = Ann(desk), f"/alerts/{ALERT}"
    assert _NOT in ann.sees(incident)
    assert _UNDO not in ann.sees(incident)
    hear(desk, judged())
    assert _UNDO in ann.sees(incident)
    assert _NOT not in ann.sees(incident)
    hear(desk, judged(2, anomaly=True), judged(1))
    assert _NOT in ann.sees(incident), "the newest counts, in whatever order they come"
    assert "an anomaly after all" in ann.sees(incident)


def test_the_list_shows_each_judgement_until_it_is_undone(desk: Desk) -> None:
    ann = Ann(desk)
    assert "No alarm was called" in ann.sees("/judgements")
    hear(desk, judged())
    shown = ann.sees("/judgements")
    for words in ("up to 81.5 %", "Bob", "the nightly backup", "mount=/var", ">Undo</button>"):
        assert words in shown
    assert "No judgement matches" in ann.sees("/judgements?search=cpu")
    assert "Bob" in ann.sees("/judgements?search=NIGHTLY")
    hear(desk, judged(1, anomaly=True))
    assert "Bob" not in ann.sees("/judgements")
    desk.alerts.prune(NOW + timedelta(days=31))
    assert desk.alerts.judgements.of(ALERT) is None


def test_a_judgement_made_here_shows_at_once_and_the_healers_word_replaces_it(desk: Desk) -> None:
    ann = Ann(desk)
    ann.judges(reason="a test")
    assert "a test" in ann.sees("/judgements")
    hear(desk, judged(at=datetime.now(UTC) - timedelta(seconds=1)))
    assert "up to 81.5 %" in ann.sees("/judgements")


def test_a_judgement_that_was_undone_can_be_given_again(desk: Desk) -> None:
    ann = Ann(desk)
    ann.judges()
    ann.judges(anomaly="yes")
    ann.judges()
    told = [each for each in desk.sent if isinstance(each, AnomalyJudge)]
    assert [each.anomaly for each in told] == [False, True, False]
    assert len({each.message_id() for each in told}) == 3, "none is taken for another's repetition"
    assert _UNDO in ann.sees(f"/alerts/{ALERT}")


def test_a_healer_of_before_names_no_alert_and_harms_nothing(desk: Desk) -> None:
    hear(desk, judged(alert_id=None))
    assert desk.alerts.judgements.in_force() == []
