"""A limit in seconds of an idle machine holds on one that others use."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shared.embedded import patience
from shared.embedded.patience import Patience


@pytest.mark.parametrize(("share", "limit_s", "lasts_s"), [(1.0, 10, 10), (0.25, 10, 40)])
def test_a_second_counts_as_much_as_the_machine_gives_of_it(
    monkeypatch: pytest.MonkeyPatch, share: float, limit_s: int, lasts_s: int
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(patience, "share", lambda: share)
    limit = Patience(limit_s)
    while not limit.is_over():
        clock.now += 1
    assert limit.waited_s == lasts_s


def test_a_busy_program_gets_some_part_of_a_processor() -> None:
    assert 0 < patience.share() <= 1
