"""Deliveries: in order, by one replica at a time, until they are taken or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.healer.model.notice import Notice, Summary
from services.healer.model.notification import DELIVERIES
from services.healer.notify.channels import (
    Channel,
    ChannelRefused,
    ChannelTooLarge,
    ChannelUnavailable,
    Tools,
)
from services.healer.notify.delivery import Deliverer
from services.healer.notify.failing_channels import FailingChannels
from services.healer.notify.render.text import plain
from services.healer.notify.render.title import title
from shared import traces
from tests.unit.healer.test_alerting import over, trouble
from tests.unit.healer.test_incidents import Desk

KEEP = timedelta(days=1)


@dataclass
class Other:
    """The other side: what it took, and what it says next."""

    taken: list[str] = field(default_factory=list)
    answer: Callable[[str], Exception | None] = lambda _id: None


class Spoken(Channel):
    TYPE: ClassVar[str] = "spoken"
    other: Any

    def send(self, told: Notice | Summary, recipient: str, tools: Tools) -> None:
        error = self.other.answer(told.message_id)
        if error is not None:
            raise error
        self.other.taken.append(told.message_id)


@dataclass
class _Unit:
    records: Any


@dataclass
class Post:
    """A healer whose only channel is the other side, and replicas that deliver to it."""

    other: Other = field(default_factory=Other)

    def __post_init__(self) -> None:
        self.channel = Spoken(name="spoken", other=self.other)
        self.desk = Desk(mail_to="", channels=(self.channel,))

    @contextmanager
    def unit(self) -> Iterator[Any]:
        with self.desk.store.transaction() as records:
            yield _Unit(records)

    def replica(self, *, alone: bool = False) -> Deliverer:
        failing = FailingChannels(self.desk.handlers.dispatch, timedelta(minutes=10))
        return Deliverer(
            self.channel, Tools(), self.unit, lambda: self.desk.now, KEEP, failing, alone=alone
        )

    def statuses(self) -> Counter[str]:
        with self.desk.store.transaction() as records:
            return Counter(delivery.status for delivery in records.find(DELIVERIES))


def test_what_cannot_be_sent_for_ten_minutes_arrives_once_and_in_order() -> None:
    post = Post()
    post.other.answer = lambda _id: ChannelUnavailable("nobody listens")
    replica = post.replica()
    for n in range(5):
        post.desk.take(trouble(f"host{n}"), *([over(trouble("host0"))] if n == 4 else []))
    for _ in range(60):
        post.desk.later(10)
        replica.run()
    assert post.other.taken == []
    post.other.answer = lambda _id: None
    for _ in range(60):
        post.desk.later(10)
        replica.run()
    notices = [told.message_id for told in post.desk.notices()]
    assert sorted(post.other.taken) == sorted(notices)
    assert len(notices) == 6
    first, last = (n for n in notices if n.startswith(notices[0].split(".")[0]))
    assert post.other.taken.index(first) < post.other.taken.index(last)


class Limited(Channel):
    """A receiver that accepts notices of so many alerts."""

    TYPE: ClassVar[str] = "limited"
    most: int
    taken: list[Notice | Summary]

    def send(self, told: Notice | Summary, recipient: str, tools: Tools) -> None:
        if len(told.lines()) > self.most:
            raise ChannelTooLarge("413")
        self.taken.append(told)


@pytest.mark.parametrize(("most", "sent"), [(1, 1), (20, 1), (70, 50), (100, 80)])
def test_a_notice_that_is_too_large_is_sent_as_far_as_the_receiver_accepts(
    most: int, sent: int
) -> None:
    receiver = Limited(name="limited", most=most, taken=[])
    post = Post()
    post.desk = Desk(mail_to="", channels=(receiver,), storm={"alerts": 1000}, group_by=())
    post.channel = receiver
    post.desk.take(*(trouble(f"host{n}") for n in range(80)))
    for _ in range(6):
        post.desk.later(10)
        post.replica().run()
    assert [len(told.lines()) + told.left_out for told in receiver.taken] == [80]
    assert len(receiver.taken[0].lines()) == sent
    assert f"{80 - sent} further alert" in plain(receiver.taken[0]) or sent == 80
    assert "(and 79 more)" in title(receiver.taken[0])
    assert post.statuses() == Counter({"sent": 1})


def test_a_receiver_that_accepts_no_size_has_refused_the_notice() -> None:
    post = Post()
    post.other.answer = lambda _id: ChannelTooLarge("413")
    post.desk.take(trouble("host1"))
    for _ in range(6):
        post.desk.later(10)
        post.replica().run()
    assert post.statuses() == Counter({"refused": 1})


def test_a_notice_is_a_span_in_the_trace_of_the_signal_that_it_tells_of() -> None:
    told: list[traces.Span] = []
    traces.export_to(told.append)
    try:
        post = Post()
        post.other.answer = lambda _id: ChannelUnavailable("nobody listens")
        context = traces.begin("signal", traces.Kind.CONSUMER).traceparent
        post.desk.take(trouble("host1"), trace=context)
        replica = post.replica()
        for _ in range(12):
            post.desk.later(10)
            replica.run()
            post.other.answer = lambda _id: None
    finally:
        traces.export_to(None)
    first, *_, last = told
    assert {(each.name, each.trace_id, each.parent_id) for each in told} == {
        ("notify spoken", *(traces.parts(context) or ()))
    }
    assert (first.problem, last.problem) == ("nobody listens", "")


def test_when_the_other_side_is_back_nothing_waits_out_its_pause() -> None:
    post = Post()
    post.other.answer = lambda _id: ChannelUnavailable("nobody listens")
    replica = post.replica()
    for n in range(5):
        post.desk.take(trouble(f"host{n}"))
    for _ in range(60):
        post.desk.later(10)
        replica.run()
    post.other.answer = lambda _id: None
    post.desk.take(trouble("new"))
    replica.run()
    assert post.statuses() == {"sent": 6}


def test_one_bad_notice_does_not_hold_up_the_others() -> None:
    post = Post()
    post.desk.take(trouble("bad"))
    bad = post.desk.notices()[0].message_id
    post.desk.take(trouble("good"))
    post.other.answer = lambda name: ChannelUnavailable("503") if name == bad else None
    post.replica().run()
    assert len(post.other.taken) == 1
    post.other.answer = lambda name: ChannelRefused("400") if name == bad else None
    post.desk.later(10)
    post.replica().run()
    assert post.statuses() == {"sent": 1, "refused": 1}


def test_the_other_sides_pause_is_kept() -> None:
    post = Post()
    post.desk.take(trouble())
    post.other.answer = lambda _id: ChannelUnavailable("429", after_s=100)
    replica = post.replica()
    replica.run()
    post.other.answer = lambda _id: None
    post.desk.later(99)
    replica.run()
    assert post.other.taken == []
    post.desk.later(1)
    replica.run()
    assert len(post.other.taken) == 1


class Killed(BaseException):
    """The process ends here."""


def test_what_a_killed_replica_was_sending_is_sent_by_the_other_when_its_time_is_up() -> None:
    post = Post()
    post.desk.take(trouble())
    post.other.answer = lambda _id: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        post.replica().run()
    post.other.answer = lambda _id: None
    second = post.replica()
    second.run()
    assert post.other.taken == [], "the first may still be sending"
    post.desk.later(181)
    second.run()
    assert len(post.other.taken) == 1


def test_what_was_being_sent_is_sent_at_once_by_the_next_process_where_there_is_one_alone() -> None:
    post = Post()
    post.desk.take(trouble())
    post.other.answer = lambda _id: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        post.replica(alone=True).run()
    post.other.answer = lambda _id: None
    post.replica(alone=True).run()
    assert len(post.other.taken) == 1


def test_a_replica_that_comes_back_late_changes_nothing() -> None:
    post = Post()
    post.desk.take(trouble())
    second = post.replica()

    def slow(_id: str) -> Exception | None:
        post.other.answer = lambda _id: None
        post.desk.later(200)
        second.run()
        return ChannelUnavailable("timed out")

    post.other.answer = slow
    post.replica().run()
    assert post.statuses() == {"sent": 1}


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["ok", "later", "never", "tick", "other"]), max_size=30))
def test_whatever_happens_every_notice_is_taken_once_or_refused(course: list[str]) -> None:
    post = Post()
    replicas = [post.replica(), post.replica()]
    answers = {"ok": None, "later": ChannelUnavailable("later"), "never": ChannelRefused("no")}
    for number, step in enumerate(course):
        post.desk.take(trouble(f"host{number % 7}", number=number))
        if step in answers:
            post.other.answer = lambda _id, step=step: answers[step]
        elif step == "tick":
            post.desk.later(400)
        replicas[step == "other"].run()
    post.other.answer = lambda _id: None
    for _ in range(10):
        post.desk.later(700)
        replicas[0].run()
    assert len(set(post.other.taken)) == len(post.other.taken)
    assert set(post.statuses()) <= {"sent", "refused"}
    assert post.statuses()["sent"] == len(post.other.taken)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_while_a_notice_is_sent_doubles_nothing(hours: int) -> None:
    post = Post()
    post.desk.take(trouble())

    def step(_id: str) -> None:
        post.desk.now += timedelta(hours=hours)

    post.other.answer = step
    replicas = [post.replica(), post.replica()]
    for replica in replicas:
        replica.run()
    for _ in range(8):
        post.desk.later(900)
        for replica in replicas:
            replica.run()
    notices = [told.message_id for told in post.desk.notices()]
    assert Counter(post.other.taken) == Counter(notices)


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_a_killed_replica_held_is_sent_once_though_the_clock_is_set(hours: int) -> None:
    post = Post()
    post.desk.take(trouble())

    def killed(_id: str) -> Exception:
        raise KeyboardInterrupt

    post.other.answer = killed
    with pytest.raises(KeyboardInterrupt):
        post.replica().run()
    post.other.answer = lambda _id: None
    post.desk.now += timedelta(hours=hours)
    other = post.replica()
    for _ in range(8):
        other.run()
        post.desk.later(900)
    assert len(post.other.taken) == 1
    assert post.statuses() == {"sent": 1}
