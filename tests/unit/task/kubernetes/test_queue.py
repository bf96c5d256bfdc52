"""Places in Kueue's queues, and the waits of those before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.task.runtimes.kubernetes.queue import Queues
from shared.cluster import Object

START = datetime(2026, 1, 1, tzinfo=UTC)


def workload(
    name: str,
    queue: str = "team",
    *,
    made_s: float = 0,
    waited_s: float | None = None,
    priority: int = 0,
    active: bool = True,
    namespace: str = "jobs",
) -> Object:
    made = START + timedelta(seconds=made_s)
    conditions = [{"type": "QuotaReserved", "status": "False", "message": "no quota"}]
    if waited_s is not None:
        at = (made + timedelta(seconds=waited_s)).isoformat().replace("+00:00", "Z")
        conditions = [{"type": "QuotaReserved", "status": "True", "lastTransitionTime": at}]
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "creationTimestamp": made.isoformat().replace("+00:00", "Z"),
        },
        "spec": {"queueName": queue, "priority": priority, "active": active},
        "status": {"conditions": conditions},
    }


def test_the_turn_goes_by_priority_and_then_by_age_in_each_queue_of_each_namespace() -> None:
    late, early = workload("late", made_s=9), workload("early", made_s=1)
    urgent = workload("urgent", made_s=10, priority=5)
    others = [
        workload("elsewhere", "other"),
        workload("foreign", namespace="their-jobs"),
        workload("stopped", active=False),
        workload("admitted", waited_s=1),
    ]
    queues = Queues(lambda: [late, early, urgent, *others])
    assert queues.place(urgent) == "1st of 3"
    assert queues.place(early) == "2nd of 3"
    assert queues.place(late) == "3rd of 3"
    assert [queues.place(each) for each in others] == ["1st of 1", "1st of 1", "", ""]


def test_the_range_is_of_those_that_were_admitted_whether_they_are_still_there_or_not() -> None:
    waiting = workload("waiting")
    there = [workload("a", waited_s=30), workload("b", waited_s=600), waiting]
    queues = Queues(lambda: there)
    assert queues.place(waiting) == "1st of 1"
    queues = Queues(lambda: there)
    queues.gone(workload("gone", waited_s=7200))
    queues.gone(workload("gone-unadmitted"))
    queues.gone(workload("of-another", "other", waited_s=1))
    said = "1st of 1; the last 3 that it admitted waited 30 s to 2 h"
    assert queues.place(waiting) == said


def test_one_long_wait_among_many_is_no_part_of_the_range() -> None:
    waiting = workload("waiting")
    queues = Queues(lambda: [waiting])
    for number in range(200):
        queues.gone(workload("gone", waited_s=300 if number else 10**6))
    assert queues.place(waiting).endswith("the last 50 that it admitted waited about 5 min")


@pytest.mark.parametrize(
    ("place", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_places_are_said_as_people_say_them(place: int, said: str) -> None:
    line = [workload(f"w{number:02}", made_s=number) for number in range(30)]
    assert Queues(lambda: line).place(line[place - 1]) == f"{said} of 30"


def test_a_look_serves_all_who_ask_within_a_second() -> None:
    now, looks = [0.0], list[int]()

    def look() -> list[Object]:
        looks.append(1)
        return [workload("w")]

    queues = Queues(look, lambda: now[0])
    for _ in range(1000):
        queues.place(workload("w"))
    assert len(looks) == 1
    now[0] = 1.0
    queues.place(workload("w"))
    assert len(looks) == 2


@pytest.mark.parametrize("broken", [{"spec": None}, {"status": None}, {"spec": {"priority": None}}])
def test_a_workload_of_another_form_is_in_some_place_and_hides_no_other(broken: Object) -> None:
    strange = workload("strange") | broken
    fine = workload("fine", made_s=1)
    assert Queues(lambda: [strange, fine]).place(fine)
