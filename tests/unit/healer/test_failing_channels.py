"""A channel that does not deliver is reported by the others; what can be mended waits."""

from __future__ import annotations

from datetime import timedelta

from services.healer.model.notice import Summary
from services.healer.notify.channels import ChannelRefused, ChannelUnavailable, Tools
from services.healer.notify.delivery import Deliverer
from services.healer.notify.failing_channels import FailingChannels
from tests.unit.healer.test_alerting import trouble
from tests.unit.healer.test_delivering import KEEP, Other, Post, Spoken
from tests.unit.healer.test_incidents import Desk


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
    post.other.answer = lambda _id: ChannelUnavailable("404 no_service")
    post.desk.take(trouble("b"))
    post.run_for(30)
    assert post.about_channels() == ["first cannot be reached"] * 2, "a new failure is new"


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
