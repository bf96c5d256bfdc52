"""Tests of which replica works which partition."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shared.service.shares import shares

_NAMES = st.frozensets(st.text(min_size=1, max_size=8), min_size=1, max_size=9)


@given(st.integers(1, 64), _NAMES)
def test_everything_is_shared_out_and_nobody_has_two_more_than_another(
    partitions: int, names: frozenset[str]
) -> None:
    found = shares(partitions, names)
    assert sorted(found) == [*range(partitions)]
    load = Counter(found.values())
    loads = [load[name] for name in names]
    assert max(loads) - min(loads) <= 1


def test_without_replicas_nobody_has_anything() -> None:
    assert shares(4, frozenset()) == {}


def test_a_replica_more_moves_little_beyond_its_own_share() -> None:
    moved = []
    for count in range(1, 9):
        before = shares(64, frozenset(f"r{n}" for n in range(count)))
        after = shares(64, frozenset(f"r{n}" for n in range(count + 1)))
        moved.append(sum(before[p] != after[p] for p in range(64)) / (64 / (count + 1)))
    assert max(moved) <= 2, "as a multiple of its share"
