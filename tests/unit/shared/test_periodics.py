"""Which periodic work is called after every batch of messages."""

from __future__ import annotations

from shared.service import Periodic, Service
from shared.settings import ServiceSettings


def test_what_takes_long_is_not_called_after_every_batch() -> None:
    periodic = [
        Periodic("quick", 3600, lambda: None),
        Periodic("long", 3600, lambda: None, eager=False),
    ]
    service = Service("healer", ServiceSettings(), periodic=periodic)
    service.wake_eager()
    assert service._wakes["quick"].is_set()
    assert not service._wakes["long"].is_set()
    service.wake("long")
    assert service._wakes["long"].is_set()
