"""A channel that does not deliver is reported by the others; what can be mended waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.healer.model.notice import Notice, Summary
from services.healer.notify.channels import ChannelRefused, ChannelUnavailable, Tools
from services.healer.notify.delivery import Deliverer
from services.healer.notify.failing_channels import FailingChannels
from services.healer.notify.render.title import title
from services.healer.people.reachability import problems
from services.healer.settings import HealerSettings
from shared.service import Context
from tests.unit.healer.test_alerting import trouble
from tests.unit.healer.test_delivering import KEEP, Other, Post, Spoken
from tests.unit.healer.test_incidents import Desk

OUT_AND_BACK = ["first cannot be reached", "first can be reached again"]


class TwoWays(Post):
    """A healer with two channels; the second always works."""

    def __post_init__(self) -> None:
        self.channel = Spoken(name="first", other=self.other)
        self.second = Spoken(name="second", other=Other())
        self.desk = Desk(mail_to="", channels=(self.channel, self.second))
        failing = FailingChannels(self.desk.handlers.dispatch, timedelta(minutes=10))
        self.replicas = [
            Deliverer(each, Tools(), self.unit, lambda: self.desk.now, KEEP, failing)
            for each in (self.channel, self.second)
        ]

    def run_for(self, minutes: int) -> None:
        for _ in range(minutes * 6):
            self.desk.later(10)
            for replica in self.replicas:
                replica.run()

    def about_channels(self) -> list[str]:
        told = [n for n in self.desk.notices() if isinstance(n, Summary) and n.kind == "channel"]
        assert {n.message_id for n in told} <= set(self.second.other.taken)
        assert not {n.message_id for n in told} & set(self.other.taken)
        return [n.headline for n in told]


@pytest.mark.slow
def test_a_channel_that_keeps_failing_is_reported_once_and_catches_up() -> None:
    post = TwoWays()
    post.other.answer = lambda _id: ChannelUnavailable("404 no_service")
    post.desk.take(trouble("a"))
    post.run_for(9)
    assert post.about_channels() == []
    post.run_for(30)
    assert post.about_channels() == ["first cannot be reached"]
    post.other.answer = lambda _id: None
    post.run_for(15)
    assert len(post.other.taken) == 1, "what waited has come"
    assert post.about_channels() == OUT_AND_BACK
    post.other.answer = lambda _id: ChannelUnavailable("404 no_service")
    post.desk.take(trouble("b"))
    post.run_for(30)
    assert post.about_channels() == [*OUT_AND_BACK, OUT_AND_BACK[0]], "a new failure is new"


def test_a_channel_that_refused_a_notice_and_then_fails_is_reported_as_out_of_reach() -> None:
    post = TwoWays()
    post.other.answer = lambda _id: ChannelRefused("552 too large")
    post.desk.take(trouble("a"))
    post.run_for(1)
    post.other.answer = lambda _id: ChannelUnavailable("timed out")
    post.desk.take(trouble("b"))
    post.run_for(30)
    assert post.about_channels() == ["first did not take a notice", OUT_AND_BACK[0]]


def test_a_notice_that_is_given_up_is_reported_at_once_and_a_flood_of_them_once() -> None:
    post = TwoWays()
    post.other.answer = lambda _id: ChannelRefused("422 no such field")
    for number in range(5):
        post.desk.take(trouble(f"host{number}"))
    post.run_for(1)
    assert post.about_channels() == ["first did not take a notice"]


def test_a_notice_that_cannot_be_made_costs_itself_alone() -> None:
    post = TwoWays()
    first: list[str] = []

    def answer(message_id: str) -> Exception | None:
        first.append(message_id)
        return UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no") if first[0] == message_id else None

    post.other.answer = answer
    post.desk.take(trouble("a"), trouble("b"))
    post.run_for(2)
    assert len(post.other.taken) == 1
    assert post.about_channels() == ["first did not take a notice"]


class OneOfTwo(Spoken):
    """A channel with two recipients."""

    def recipients(self) -> tuple[str, ...]:
        return ("ann@example.org", "bob@example.org")

    def send(self, notice: Notice | Summary, recipient: str, tools: Tools) -> None:
        if recipient.startswith("ann"):
            raise ChannelRefused("550 no such user")
        super().send(notice, recipient, tools)


def _answering(*channels: Spoken) -> tuple[Desk, list[Deliverer]]:
    post = Post()
    desk = post.desk = Desk(mail_to="", channels=channels)
    failing = FailingChannels(desk.handlers.dispatch, timedelta(minutes=10))
    return desk, [
        Deliverer(each, Tools(), post.unit, lambda: desk.now, KEEP, failing) for each in channels
    ]


def _run(desk: Desk, deliverers: list[Deliverer]) -> None:
    for _ in range(3):
        desk.later(10)
        for deliverer in deliverers:
            deliverer.run()


def test_that_one_recipient_refuses_is_told_to_the_others_of_its_channel() -> None:
    channel = OneOfTwo(name="mail", other=Other())
    desk, deliverers = _answering(channel)
    desk.take(trouble("a"))
    _run(desk, deliverers)
    told = [notice for notice in desk.notices() if notice.message_id in channel.other.taken]
    assert [notice.kind for notice in told] == ["firing", "channel"]
    assert title(told[1]) == "[critical] channel: mail ann@example.org did not take a notice"


def test_the_channels_of_escalations_hear_of_a_failing_one_if_nobody_else_does() -> None:
    first, pager = Other(), Other()
    first.answer = lambda _id: ChannelRefused("550 no such user")
    desk, deliverers = _answering(
        Spoken(name="first", other=first), Spoken(name="pager", other=pager, escalation_only=True)
    )
    desk.take(trouble("a"))
    _run(desk, deliverers)
    (told,) = [notice for notice in desk.notices() if notice.message_id in pager.taken]
    assert told.kind == "channel"


def test_the_doctor_names_a_recipient_that_refused_until_it_takes_one_or_is_gone() -> None:
    other = Other()
    other.answer = lambda _id: ChannelRefused("550 no such user")
    desk, deliverers = _answering(Spoken(name="first", other=other))

    def found(settings: HealerSettings) -> list[str]:
        with desk.store.transaction() as records:
            return problems(settings, Context(desk.now, "", 1, records))

    desk.take(trouble("a"))
    _run(desk, deliverers)
    assert found(desk.settings) == [
        "first refused a notice and has taken none since: 550 no such user"
    ]
    assert (
        found(desk.settings.model_copy(update={"channels": (Spoken(name="x", other=other),)})) == []
    )
    other.answer = lambda _id: None
    desk.take(trouble("b"))
    _run(desk, deliverers)
    assert found(desk.settings) == []
