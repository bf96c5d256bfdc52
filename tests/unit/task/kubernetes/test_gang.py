"""Tests of whose gates may open: order, holding, giving back."""

from __future__ import annotations

from collections.abc import Mapping

from services.task.runtimes.kubernetes import names
from services.task.runtimes.kubernetes.gang import Gang, Keeper
from services.task.runtimes.kubernetes.room import Free
from tests.unit.task.kubernetes.objects import node, pod

PATIENCE_S = 20.0


def gang(job_id: str, *, size: int = 2, gated: int = -1, placed: int = 0, made: int = -1) -> Gang:
    """``gated`` (default: all) of its pods have gates, ``placed`` of the others nodes."""
    gated = size if gated < 0 else gated
    made = size if made < 0 else made
    pods = [
        pod(
            f"worker-{index}",
            gates=index < gated,
            node="n0" if gated <= index < gated + placed else "",
        )
        for index in range(made)
    ]
    return Gang(job_id, job_id, size, pods)


def room(cpu: int) -> Free:
    return Free.of([node(cpu=str(cpu))], [])


def decide(
    gangs: list[Gang], free: Free | None, keeper: Keeper | None = None, now: float = 0.0
) -> tuple[list[str], Mapping[str, str], set[str]]:
    keeper = keeper or Keeper(PATIENCE_S)
    opening, held, overdue = keeper.decide(gangs, free, now)
    return [each.job_id for each in opening], held, overdue


def test_a_gang_with_room_is_opened() -> None:
    assert decide([gang("a")], room(4)) == (["a"], {}, set())


def test_a_gang_without_room_for_all_of_it_is_held_and_told() -> None:
    opening, held, _ = decide([gang("a", size=5)], room(4))
    assert not opening
    assert held == {"a": "the nodes have no room for all 5 pods at once"}


def test_of_two_that_each_need_most_of_the_cluster_the_older_goes_first() -> None:
    opening, held, _ = decide([gang("b", size=3), gang("a", size=3)], room(4))
    assert opening == ["a"]
    assert "no room for all 3" in held["b"]


def test_a_small_one_does_not_overtake_a_large_one_that_waits() -> None:
    opening, held, _ = decide([gang("a", size=9), gang("b", size=1)], room(4))
    assert not opening
    assert held["b"] == "waits behind job a"


def test_a_gang_is_told_nothing_of_another_projects_jobs() -> None:
    ahead, behind = gang("a", size=9), gang("b", size=1)
    for each in behind.pods:
        each["metadata"]["labels"][names.PROJECT] = "speech"
    _, held, _ = decide([ahead, behind], room(4))
    assert held["b"] == "waits behind another job"


def test_what_looks_for_nodes_already_has_its_room_kept() -> None:
    seeking = gang("a", size=3, gated=0)
    opening, held, _ = decide([seeking, gang("b", size=2)], room(4))
    assert not opening
    assert "b" in held


def test_an_unfinished_gang_waits_for_its_own_pods() -> None:
    opening, held, _ = decide([gang("a", size=3, made=2)], room(9))
    assert not opening
    assert held == {"a": "2 of its 3 pods are made"}


def test_a_replaced_member_joins_the_others_whatever_waits() -> None:
    replaced = gang("b", size=3, gated=1, placed=2)
    opening, _, _ = decide([gang("a", size=9), replaced], room(4))
    assert opening == ["b"]


def test_without_sight_of_nodes_one_gang_at_a_time_is_opened() -> None:
    opening, held, _ = decide([gang("a"), gang("b")], None)
    assert (opening, set(held)) == (["a"], {"b"})
    opening, held, _ = decide([gang("a", gated=0), gang("b")], None)
    assert (opening, held) == ([], {"b": "waits behind job a"})
    opening, _, _ = decide([gang("a", gated=0, placed=2), gang("b")], None)
    assert opening == ["b"]


def test_a_gang_that_holds_nodes_in_vain_gives_them_back_after_its_patience() -> None:
    keeper, half = Keeper(PATIENCE_S), gang("a", gated=0, placed=1)
    assert decide([half], room(4), keeper, 0)[2] == set()
    assert decide([half], room(4), keeper, PATIENCE_S)[2] == set()
    assert decide([half], room(4), keeper, PATIENCE_S + 1)[2] == {"a"}


def test_a_gang_that_holds_nothing_is_never_overdue() -> None:
    keeper, none = Keeper(PATIENCE_S), gang("a", gated=0)
    decide([none], room(4), keeper, 0)
    assert decide([none], room(4), keeper, 10 * PATIENCE_S)[2] == set()


def test_one_that_gave_back_rests_and_lets_others_go_first() -> None:
    keeper = Keeper(PATIENCE_S)
    decide([gang("a", gated=0, placed=1)], room(4), keeper, 0)
    decide([gang("a", gated=0, placed=1)], room(4), keeper, PATIENCE_S + 1)
    opening, held, _ = decide([gang("a")], room(4), keeper, PATIENCE_S + 2)
    assert not opening
    assert "gave back" in held["a"]
    assert decide([gang("a")], room(4), keeper, 2 * PATIENCE_S)[0] == ["a"]


def test_time_in_vain_counts_anew_once_all_were_placed() -> None:
    keeper = Keeper(PATIENCE_S)
    decide([gang("a", gated=0, placed=1)], room(4), keeper, 0)
    decide([gang("a", gated=0, placed=2)], room(4), keeper, PATIENCE_S)
    again = decide([gang("a", gated=0, placed=1)], room(4), keeper, PATIENCE_S + 1)
    assert again[2] == set()


def test_a_job_that_is_gone_is_forgotten() -> None:
    keeper = Keeper(PATIENCE_S)
    decide([gang("a", gated=0, placed=1)], room(4), keeper, 0)
    keeper.forget(set())
    assert decide([gang("a", gated=0, placed=1)], room(4), keeper, PATIENCE_S + 1)[2] == set()
