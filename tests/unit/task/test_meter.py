"""What a program uses becomes a mean over the time since it was last asked."""

from __future__ import annotations

from types import SimpleNamespace

from services.task.launcher.ground import Usage
from services.task.launcher.meter import Meter
from services.task.spec import Credentials, MemberSpec
from shared.contracts import JobSubmit, Member

SPEC = MemberSpec(
    job=JobSubmit(job_id="j", name="n", package="barograph:packages:a.tar.gz", main="m.py"),
    member=Member(role="worker", index=0, incarnation=2),
    primary=True,
    directory="d",
    checkpoints="c",
    host="h",
    credentials=Credentials(broker_url="amqp://", bucket="b"),
)


class Bench:
    """A meter over a clock and a program of ours."""

    def __init__(self) -> None:
        self.now, self.told = 0.0, []
        self.program: SimpleNamespace | None = None
        self.meter = Meter(SPEC, lambda: self.program, self.told.append, lambda: self.now)

    def measure(self, now: float, used: Usage | None) -> None:
        self.now = now
        if self.program is not None:
            self.program.used = lambda: used
        self.meter.measure()


def test_the_mean_is_that_of_the_time_between_two_measurements() -> None:
    bench = Bench()
    bench.program = SimpleNamespace()
    bench.measure(1, Usage(0.5, 100))
    assert bench.told == []
    bench.measure(11, Usage(15.5, 200))
    bench.measure(21, Usage(15.5, 50))
    assert [(m.cpu_cores, m.memory_bytes) for m in bench.told] == [(1.5, 200), (0.0, 50)]
    assert {m.member.incarnation for m in bench.told} == {2}


def test_another_run_begins_anew_and_none_is_told_of_nothing() -> None:
    bench = Bench()
    bench.measure(1, None)
    for start in (10, 20):
        bench.program = SimpleNamespace()
        bench.measure(start, Usage(5, 100))
        bench.measure(start + 2, None)
        bench.measure(start + 4, Usage(9, 100))
    assert bench.told == []


def test_seconds_that_left_with_a_process_are_not_negative() -> None:
    bench = Bench()
    bench.program = SimpleNamespace()
    bench.measure(1, Usage(50, 100))
    bench.measure(2, Usage(3, 100))
    assert bench.told[0].cpu_cores == 0
