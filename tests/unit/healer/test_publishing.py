"""Samples wait for the broker in order and within bounds; no sampler spoils the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import psutil
import pytest

from services.healer.agent import publishing
from services.healer.agent.publishing import Publishing
from services.healer.agent.samplers import Reading, Sampler
from shared.contracts import Message, MetricBatch
from shared.messaging import BrokerUnavailable, Unpublishable


class Counting(Sampler):
    items: ClassVar[tuple[str, ...]] = ("load.1min", "load.5min")

    def __init__(self) -> None:
        self.count = 0

    def sample(self) -> list[Reading]:
        self.count += 1
        return [Reading("load.1min", self.count), Reading("load.5min", 0.0)]


class Broken(Sampler):
    items: ClassVar[tuple[str, ...]] = ("ss.closed",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def sample(self) -> list[Reading]:
        raise self.error


class Broker:
    def __init__(self) -> None:
        self.ready = True
        self.fails = 0
        self.values: list[float] = []
        self.ages: list[float | None] = []

    def publish(self, messages: Sequence[Message], *, timeout_s: float) -> None:
        if self.fails:
            self.fails -= 1
            raise BrokerUnavailable("not confirmed")
        for message in messages:
            assert isinstance(message, MetricBatch)
            self.values.append(message.samples[0].value)
            self.ages.append(message.agent_age_s)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(publishing.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def read(publishing: Publishing, clock: Clock, times: int) -> None:
    for _ in range(times):
        clock.now += 10
        assert publishing.tick()


def make(*samplers: Sampler, kept: int = 360, items: Sequence[str] = ()) -> Publishing:
    return Publishing("h", samplers or (Counting(),), interval_s=10, kept=kept, items=items)


def test_an_early_look_reads_nothing(clock: Clock) -> None:
    counting = Counting()
    samples = make(counting)
    read(samples, clock, 1)

    clock.now += 0.5
    assert not samples.tick()
    assert counting.count == 1


def test_a_machine_that_slept_reads_once_and_goes_on_in_its_rhythm(clock: Clock) -> None:
    samples = make()
    clock.now += 1000

    assert [samples.tick(), samples.tick()] == [True, False]


def test_batches_wait_for_the_broker_and_then_go_in_order(clock: Clock) -> None:
    samples, broker = make(), Broker()
    broker.ready = False
    read(samples, clock, 30)
    samples.send(broker)
    assert (broker.values, samples.waiting) == ([], 30)

    broker.ready = True
    samples.send(broker)

    assert broker.values == list(range(1, 31))
    assert broker.ages == [10.0 * number for number in range(1, 31)]
    assert samples.waiting == 0


def test_what_was_not_confirmed_is_sent_again_before_anything_newer(clock: Clock) -> None:
    samples, broker = make(), Broker()
    read(samples, clock, 2)
    broker.fails = 1
    samples.send(broker)
    assert samples.waiting == 2

    read(samples, clock, 1)
    samples.send(broker)

    assert broker.values == [1, 2, 3]


def test_beyond_the_bound_the_oldest_are_given_up(clock: Clock) -> None:
    samples, broker = make(kept=5), Broker()
    read(samples, clock, 12)

    samples.send(broker)

    assert broker.values == [8, 9, 10, 11, 12]


def test_batches_given_up_while_others_are_sent_do_not_take_newer_ones_along(
    clock: Clock,
) -> None:
    samples = make(kept=3)
    read(samples, clock, 3)

    class Slow(Broker):
        def publish(self, messages: Sequence[Message], *, timeout_s: float) -> None:
            super().publish(messages, timeout_s=timeout_s)
            if len(self.values) == 3:
                read(samples, clock, 2)

    broker = Slow()
    samples.send(broker)

    assert broker.values == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "error",
    [OSError("no such file"), psutil.AccessDenied(1), KeyError("MemTotal"), ZeroDivisionError()],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_sampler_is_left_out_and_named_once(
    clock: Clock, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    samples, broker = make(Broken(error), Counting()), Broker()
    read(samples, clock, 3)
    samples.send(broker)

    assert broker.values == [1, 2, 3]
    assert capsys.readouterr().out.count("sampler_failed") == 1


def test_only_the_items_wanted_are_read(clock: Clock) -> None:
    counting = Counting()

    assert {s.item for s in make(counting, items=["load.5min"]).read(0)} == {"load.5min"}
    assert make(counting, items=["host.alive"]).read(0) == []


class Odd(Sampler):
    """Reads processes whose names are no text, and a good one between them."""

    items: ClassVar[tuple[str, ...]] = ("proc.count",)

    def sample(self) -> list[Reading]:
        names = ["\udcff", "good", "x" * 100_000]
        return [Reading("proc.count", 1.0, {"name": name}) for name in names]


def test_a_reading_that_is_no_sample_costs_itself_alone() -> None:
    read_samples = make(Odd(), Counting()).read(1_000)
    assert [dict(sample.labels) for sample in read_samples] == [{"name": "good"}, {}, {}]


def test_what_can_never_be_sent_does_not_keep_what_comes_after_it(clock: Clock) -> None:
    class Refusing(Broker):
        def publish(self, messages: Sequence[Message], *, timeout_s: float) -> None:
            super().publish(messages, timeout_s=timeout_s)
            if len(self.values) == 1:
                raise Unpublishable({0: "its body has 20,000,000 bytes"})

    samples, broker = make(), Refusing()
    read(samples, clock, 1)
    samples.send(broker)
    read(samples, clock, 1)
    samples.send(broker)
    assert broker.values == [1, 2]
    assert samples.waiting == 0
