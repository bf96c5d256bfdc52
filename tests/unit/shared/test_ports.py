"""Ports of servers that are being started are not given to others."""

from __future__ import annotations

import pytest

from shared.embedded import process
from shared.embedded.process import EmbeddedError, free_ports


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PORTS", range(20_000, 20_008))
    monkeypatch.setattr(process, "is_free", lambda port: port != 20_007)


def test_a_port_whose_server_may_not_listen_yet_is_chosen_last() -> None:
    chosen = free_ports(3) + free_ports(2) + free_ports(2)
    assert sorted(chosen) == list(range(20_000, 20_007))
    assert set(free_ports(7)) == set(chosen), "those before may have ended long ago"


def test_too_few_free_ports_are_said() -> None:
    with pytest.raises(EmbeddedError, match="fewer than 8 free ports from 20000 to 20007"):
        free_ports(8)
