"""A bus without a broker, for tests of what is published."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shared.messaging import BrokerUnavailable, Bus


class RecordingBus(Bus):
    """Is never connected; keeps what it is asked to publish, call by call.

    Args:
        principal: the broker user.
        state_dir: where crash marks are kept.
    """

    def __init__(self, principal: str = "detector", state_dir: Path | None = None) -> None:
        url = f"amqp://{principal}:unused@127.0.0.1:1/%2F"
        super().__init__(url, principal, state_dir=state_dir)
        self.calls: list[list[Any]] = []
        self.down = False

    @property
    def published(self) -> list[Any]:
        """Everything that was published, in order."""
        return [each for call in self.calls for each in call]

    @property
    def dead(self) -> list[Any]:
        """The dead letters among them."""
        exchange = f"to.{self.principal}"
        return [each for each in self.published if each.exchange == exchange]

    def stream_reaches(self, partition: int, offset: int, timeout_s: float = 5.0) -> bool | None:
        """Every stream has every offset."""
        del partition, offset, timeout_s
        return True

    def publish_prepared(self, outgoing: Iterable[Any], timeout_s: float = 60.0) -> None:
        """Keep the messages; fail while the broker is ``down``."""
        del timeout_s
        if self.down:
            raise BrokerUnavailable("no confirm")
        self.calls.append(list(outgoing))
