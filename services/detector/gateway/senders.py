"""The senders of samples, and the machines of each.

When a Prometheus stops, all its machines stop reporting at once; whoever judges a machine's
silence must know that. A sender is known by its address and the product that it names: enough to
tell a Prometheus from an agent beside it. Two that cannot be distinguished count as one, which only
ever means that a silent machine of theirs is reported by itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shared.samples import Sender

_MAX_SENDERS = 1000
_MAX_OF_A_MACHINE = 4
"""The number of a machine's senders that are reported: two Prometheis that scrape it are usual."""
_AGAIN_MS = 3_600_000
"""The list of a sender's machines is published again at this interval, for new readers."""
_PRODUCT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,63}")


@dataclass
class _Known:
    heard_ms: int = 0
    machines: int = 0
    """The most it has brought."""
    brought: set[str] = field(default_factory=set)


def sender_name(address: str, user_agent: str) -> str:
    """The name of a sender: ``10.0.0.5 Prometheus/2.53.0``."""
    product = _PRODUCT.match(user_agent)
    return f"{address} {product[0]}" if product else address


class Senders:
    """All senders of one gateway; one lock, since requests are read in a thread."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._of_machine: dict[str, set[str]] = {}
        self._news: dict[tuple[str, str], None] = {}
        self._begun_ms = clock_ms()

    def heard(self, sender: str) -> None:
        """A request of ``sender`` was taken."""
        with self._lock:
            self._of(sender).heard_ms = self._clock_ms()

    def brings(self, sender: str, machines: Iterable[str]) -> None:
        """Note machines whose samples ``sender`` has sent."""
        with self._lock:
            known = self._of(sender)
            for machine in machines:
                known.brought.add(machine)
                of_machine = self._of_machine.setdefault(machine, set())
                if sender not in of_machine and len(of_machine) < _MAX_OF_A_MACHINE:
                    of_machine.add(sender)
                    self._news[machine, sender] = None
            known.machines = max(known.machines, len(known.brought))

    def news(self) -> list[tuple[str, str]]:
        """(machine, sender) seen together for the first time since the last call."""
        with self._lock:
            news, self._news = self._news, {}
        return list(news)

    def marks(self) -> tuple[Sender, ...]:
        """Return when each sender was last heard, for the streams."""
        with self._lock:
            return tuple(Sender(name, k.heard_ms, k.machines) for name, k in self._known.items())

    def unpublished(self) -> None:
        """News may not have reached the streams: it is news again when it comes again."""
        with self._lock:
            self._of_machine.clear()

    def begin_again(self) -> bool:
        """Return whether all senders and machines are due to be published again."""
        now = self._clock_ms()
        with self._lock:
            if now - self._begun_ms < _AGAIN_MS:
                return False
            self._begun_ms = now
            self._of_machine.clear()
            self._known = {
                n: k for n, k in self._known.items() if now - k.heard_ms < 24 * _AGAIN_MS
            }
            for known in self._known.values():
                known.brought.clear()
            return True

    def _of(self, sender: str) -> _Known:
        if sender not in self._known and len(self._known) >= _MAX_SENDERS:
            oldest = min(self._known, key=lambda name: self._known[name].heard_ms)
            del self._known[oldest]
        return self._known.setdefault(sender, _Known())
