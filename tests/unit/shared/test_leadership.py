"""A replica leads only if its work has begun."""

from __future__ import annotations

import threading

import pytest

from shared.service.leadership import Leadership, Role
from shared.store import StoreUnavailable
from tests.property.test_leadership import Row, World


@pytest.mark.parametrize("fault", [StoreUnavailable("away"), KeyError("view")])
def test_who_leads_and_could_not_begin_lets_another_lead_and_ends(fault: Exception) -> None:
    world, ended = World(), threading.Event()

    def begin() -> None:
        raise fault

    failing = Leadership(Row(world, "a"), begin, ended.set, clock=lambda: world.now)
    following = threading.Thread(target=failing.follow, args=(ended,), daemon=True)
    following.start()
    assert ended.wait(60), "it keeps leading, and nothing is done"
    following.join(60)
    assert failing.role is Role.DEPOSED

    other = Leadership(Row(world, "b"), lambda: None, lambda: None, clock=lambda: world.now)
    other.step()
    assert other.role is Role.LEADER
