"""What is due is worked off in parts: one that fails costs itself, and a crash repeats a few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

import pytest

from services.healer.handlers import Handlers
from services.healer.incidents import expiry
from services.healer.incidents.expiry import Batch, work_off
from services.healer.model.incident import INCIDENTS
from services.healer.model.notification import CHANNEL_FAILURES, DELIVERIES, ChannelFailure
from services.healer.model.transitions import Phase
from services.healer.people.reachability import problems
from shared.contracts import Message
from shared.service import Context
from shared.unavailable import Unavailable
from tests.unit.healer.test_alerting import trouble
from tests.unit.healer.test_delivering import Other, Spoken
from tests.unit.healer.test_incidents import Desk


class OtherError(Exception):
    """A fault of one record."""


def made(desk: Desk) -> None:
    """Work off what is due as the service does."""

    def transaction(batch: Batch) -> None:
        with desk.store.transaction() as records:
            batch(Context(desk.now, "", 1, records))

    transaction(desk.handlers.expiry.clock)
    with desk.store.reading() as records:
        batches = desk.handlers.expiry.batches(Context(desk.now, "", 1, records))
    work_off(batches, transaction)


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_an_incident_that_cannot_be_handled_keeps_back_no_other(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "_AT_ONCE", at_once)
    desk = Desk()
    desk.take(*(trouble(f"host{n}") for n in range(8)))
    with desk.store.transaction() as records:
        for incident in records.find(INCIDENTS):
            closed = {"phase": Phase.CLOSED, "signals": {}, "due": desk.now}
            records.put(INCIDENTS, incident.model_copy(update=closed))
    overdue = desk.handlers._lifecycle.overdue

    def failing(incident: object, ctx: Context) -> Iterable[Message]:
        if getattr(incident, "series", None).host == "host3":
            raise OtherError
        return overdue(incident, ctx)

    monkeypatch.setattr(desk.handlers._lifecycle, "overdue", failing)
    desk.now += timedelta(seconds=1)
    with pytest.raises(OtherError):
        made(desk)
    with desk.store.transaction() as records:
        assert [each.series.host for each in records.find(INCIDENTS)] == ["host3"]


def test_a_store_that_is_away_ends_the_pass_at_once() -> None:
    tried: list[Batch] = []

    def away(batch: Batch) -> None:
        tried.append(batch)
        raise Unavailable

    with pytest.raises(Unavailable):
        work_off([Batch(lambda *_: (), ("a", "b")), Batch(lambda *_: ())], away)
    assert len(tried) == 1


def without_channel(desk: Desk) -> None:
    """The healer begins again, and the channel was left out of its settings."""
    desk.settings = desk.settings.model_copy(update={"channels": ()})
    desk.handlers = Handlers(desk.settings, lambda: desk.uptime)
    with desk.store.transaction() as records:
        failure = ChannelFailure(recipient="spoken", since=desk.now, refused=True)
        records.put(CHANNEL_FAILURES, failure)


def standing(desk: Desk) -> Counter[str]:
    with desk.store.transaction() as records:
        return Counter(f"{each.channel} {each.status}" for each in records.find(DELIVERIES))


def test_what_waits_for_a_channel_that_was_removed_is_given_up_after_a_day() -> None:
    desk = Desk(channels=(Spoken(name="spoken", other=Other()),))
    desk.take(trouble())
    without_channel(desk)
    desk.later(3600)
    assert standing(desk) == {"mail pending": 1, "spoken pending": 1}
    with desk.store.transaction() as records:
        (named,) = [
            each
            for each in problems(desk.settings, Context(desk.now, "", 1, records))
            if "not configured" in each
        ]
    assert "wait for spoken, which" in named
    desk.later(86_400)
    found = standing(desk)
    assert found["spoken refused"] == 1
    assert found["mail refused"] == 0
    with desk.store.transaction() as records:
        assert records.find(CHANNEL_FAILURES) == []
    desk.later(desk.settings.keep_days * 86_400 + 1)
    assert found - standing(desk) == Counter({"spoken refused": 1})


def test_what_waits_for_a_recipient_that_was_removed_is_given_up_too() -> None:
    desk = Desk(mail_to="a@example.org,b@example.org")
    desk.take(trouble())
    desk.settings = desk.settings.model_copy(update={"mail_to": "a@example.org"})
    desk.handlers = Handlers(desk.settings, lambda: desk.uptime)
    desk.later(90_000)
    with desk.store.transaction() as records:
        gone = {each.recipient for each in records.find(DELIVERIES, status="refused")}
    assert gone == {"b@example.org"}
