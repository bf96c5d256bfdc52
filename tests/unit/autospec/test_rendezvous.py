"""The rendezvous handlers, without any server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.autospec import handlers
from services.autospec.records import RENDEZVOUS
from shared.contracts import (
    ClusterSpecReady,
    Member,
    Message,
    PodFenced,
    PodReported,
    RendezvousClose,
    RendezvousOpen,
    RendezvousTimedOut,
    Role,
)
from shared.service import Context
from shared.store import Store

NOW = datetime(2024, 1, 1, tzinfo=UTC)
ROLES = {Role.PS: 1, Role.WORKER: 2}
STORE = Store("sqlite://")
_ids = itertools.count()


def job_id() -> str:
    return f"job{next(_ids)}"


def opened(job: str, deadline_s: float = 60) -> RendezvousOpen:
    return RendezvousOpen(job_id=job, roles=ROLES, deadline=NOW + timedelta(seconds=deadline_s))


def report(job: str, role: Role, index: int, incarnation: int = 1, port: int = 0) -> PodReported:
    member = Member(role=role, index=index, incarnation=incarnation)
    port = port or 1000 * incarnation + 100 * index + len(role)
    return PodReported(job_id=job, member=member, host="10.0.0.1", port=port, at=NOW)


def everyone(job: str) -> list[PodReported]:
    return [report(job, Role.PS, 0), report(job, Role.WORKER, 0), report(job, Role.WORKER, 1)]


def play(messages: Iterable[Message], at: datetime = NOW) -> list[Message]:
    """Return what the handlers answer, in order."""
    table: dict[type[Message], Callable[..., Iterable[Message]]] = {
        RendezvousOpen: handlers.rendezvous_open,
        PodReported: handlers.pod_reported,
        RendezvousClose: handlers.rendezvous_close,
    }
    answers: list[Message] = []
    with STORE.transaction() as records:
        for message in messages:
            answers += table[type(message)](message, Context(at, "", 1, records))
    return answers


def expire(job: str, at: datetime) -> list[Message]:
    with STORE.transaction() as records:
        answers = list(handlers.expire(Context(at, "", 1, records)))
    return [answer for answer in answers if answer.subject() == job]


def test_the_spec_is_pushed_when_the_last_member_has_reported() -> None:
    job = job_id()
    assert play([opened(job), *everyone(job)[:2]]) == []
    (spec,) = play(everyone(job)[2:])
    assert isinstance(spec, ClusterSpecReady)
    assert spec.epoch == 1
    assert spec.cluster == {"ps": ("10.0.0.1:1002",), "worker": ("10.0.0.1:1006", "10.0.0.1:1106")}


def test_reports_that_overtake_the_opening_count() -> None:
    job = job_id()
    (spec,) = play([*everyone(job), opened(job)])
    assert isinstance(spec, ClusterSpecReady)


def test_a_repeated_report_is_answered_with_the_same_spec() -> None:
    job = job_id()
    (spec,) = play([opened(job), *everyone(job)])
    assert play([everyone(job)[0]]) == [spec]


def test_a_replacement_gets_the_next_epoch_and_its_predecessor_is_fenced() -> None:
    job = job_id()
    play([opened(job), *everyone(job)])
    fenced, spec = play([report(job, Role.WORKER, 1, incarnation=2)])
    assert isinstance(fenced, PodFenced)
    assert fenced.member.incarnation == 1
    assert isinstance(spec, ClusterSpecReady)
    assert (spec.epoch, spec.cluster[Role.WORKER][1]) == (2, "10.0.0.1:2106")


def test_a_member_declared_lost_is_waited_for_before_the_next_epoch() -> None:
    job = job_id()
    play([opened(job), *everyone(job)])
    again = opened(job, 90).model_copy(update={"incarnations": {"worker-1": 2, "ps-0": 2}})
    fenced = [a for a in play([again]) if isinstance(a, PodFenced)]
    assert {f.member.name for f in fenced} == {"ps-0", "worker-1"}
    assert play([report(job, Role.WORKER, 1, incarnation=2)]) == []
    (spec,) = play([report(job, Role.PS, 0, incarnation=2)])
    assert isinstance(spec, ClusterSpecReady)
    assert spec.epoch == 2


def test_an_opening_that_changes_nothing_makes_no_epoch() -> None:
    job = job_id()
    play([opened(job), *everyone(job)])
    assert play([opened(job, 90)]) == []


def test_a_replaced_member_that_reports_late_is_fenced() -> None:
    job = job_id()
    play([opened(job), *everyone(job), report(job, Role.WORKER, 1, incarnation=2)])
    (fenced,) = play([report(job, Role.WORKER, 1)])
    assert isinstance(fenced, PodFenced)
    assert fenced.reason == "it has been replaced"


def test_a_member_the_job_does_not_have_is_fenced() -> None:
    job = job_id()
    (fenced,) = play([opened(job), report(job, Role.WORKER, 7)])
    assert isinstance(fenced, PodFenced)


def test_the_time_out_names_who_is_missing_once() -> None:
    job = job_id()
    play([opened(job), report(job, Role.WORKER, 0)])
    (message,) = expire(job, NOW + timedelta(seconds=61))
    assert isinstance(message, RendezvousTimedOut)
    assert message.missing == ("ps-0", "worker-1")
    assert expire(job, NOW + timedelta(seconds=62)) == []


def test_a_complete_cluster_never_times_out() -> None:
    job = job_id()
    play([opened(job), *everyone(job)])
    assert expire(job, NOW + timedelta(days=9)) == []


def test_after_the_close_everyone_is_fenced_and_the_record_is_forgotten_later() -> None:
    job = job_id()
    play([opened(job), *everyone(job)])
    answers = play([RendezvousClose(job_id=job), RendezvousClose(job_id=job)])
    assert [type(a) for a in answers] == [PodFenced] * 3
    assert [type(a) for a in play(everyone(job))] == [PodFenced] * 3
    expire(job, NOW + timedelta(hours=2))
    with STORE.transaction() as records:
        assert records.get(RENDEZVOUS, job) is None


def test_an_opening_delivered_again_after_the_close_does_not_reopen() -> None:
    job = job_id()
    play([opened(job), RendezvousClose(job_id=job)])
    assert [type(a) for a in play([opened(job), *everyone(job)])] == [PodFenced] * 3


def test_an_opening_that_its_close_overtook_is_forgotten_and_its_id_can_be_used_again() -> None:
    job = job_id()
    play([RendezvousClose(job_id=job), opened(job)])
    assert [type(a) for a in expire(job, NOW + timedelta(seconds=61))] == [RendezvousTimedOut]
    play([opened(job, 90)])
    assert [type(a) for a in expire(job, NOW + timedelta(seconds=91))] == [RendezvousTimedOut]
    assert expire(job, NOW + timedelta(hours=2)) == []
    with STORE.transaction() as records:
        assert records.get(RENDEZVOUS, job) is None
    (spec,) = play([opened(job, 9000), *everyone(job)])
    assert isinstance(spec, ClusterSpecReady)


_MEMBERS = st.sampled_from([(Role.PS, 0), (Role.WORKER, 0), (Role.WORKER, 1)])
_EXTRA = st.lists(st.tuples(_MEMBERS, st.integers(1, 4)), max_size=12)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data(), extra=_EXTRA)
def test_any_order_and_number_of_deliveries_ends_in_the_newest_incarnations(
    data: st.DataObject, extra: list[tuple[tuple[Role, int], int]]
) -> None:
    job = job_id()
    reports = everyone(job) + [report(job, role, i, n) for (role, i), n in extra]
    newer = {
        name: 2
        for name in ("ps-0", "worker-1")
        if any(r.member.name == name and r.member.incarnation > 1 for r in reports)
    }
    again = opened(job, 90).model_copy(update={"incarnations": newer})
    messages: list[Message] = [opened(job), opened(job), again, *reports, *reports[:3]]
    order = data.draw(st.permutations(messages))
    newest: dict[str, int] = {}
    epoch = 0
    last: ClusterSpecReady | None = None
    fenced: set[tuple[str, int]] = set()
    for message in order:
        for answer in play([message]):
            if isinstance(answer, PodFenced):
                fenced.add((answer.member.name, answer.member.incarnation))
            if isinstance(answer, ClusterSpecReady):
                assert answer.epoch >= epoch
                if answer.epoch == epoch:
                    assert answer == last, "one epoch has one spec"
                epoch, last = answer.epoch, answer
                assert not fenced & {(m.name, m.incarnation) for m in answer.members}
    for each in reports:
        name = each.member.name
        newest[name] = max(newest.get(name, 0), each.member.incarnation)
    assert last is not None
    assert {m.name: m.incarnation for m in last.members} == newest
    expected = report(job, Role.WORKER, 1, newest["worker-1"]).port
    assert last.cluster[Role.WORKER][1] == f"10.0.0.1:{expected}"


def specs(answers: Iterable[Message]) -> list[ClusterSpecReady]:
    return [answer for answer in answers if isinstance(answer, ClusterSpecReady)]


def replaced(job: str, least_epoch: int) -> RendezvousOpen:
    """Open again, as for the second incarnation of worker-1."""
    deadline = NOW + timedelta(seconds=120)
    return RendezvousOpen(
        job_id=job,
        roles=ROLES,
        deadline=deadline,
        incarnations={"worker-1": 2},
        least_epoch=least_epoch,
    )


@pytest.mark.parametrize("report_first", [True, False])
@pytest.mark.parametrize(
    ("least_epoch", "moved", "epoch"),
    [(0, False, 1), (1, False, 1), (2, False, 2), (0, True, 2)],
    ids=["stays", "stays-as-asked", "all-begin-again", "it-has-moved"],
)
def test_the_epoch_stays_where_nobody_has_moved_unless_all_are_to_begin_again(
    least_epoch: int, moved: bool, epoch: int, report_first: bool
) -> None:
    job = job_id()
    play([opened(job), *everyone(job)])
    port = 7 if moved else everyone(job)[2].port
    newcomer = report(job, Role.WORKER, 1, incarnation=2, port=port)
    order = [newcomer, replaced(job, least_epoch)]
    (*_, spec) = specs(play(order if report_first else reversed(order)))
    assert spec.epoch == epoch
    assert {m.name: m.incarnation for m in spec.members}["worker-1"] == 2
