"""A row of the table: a message's way from its publishers to its consumers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from shared.contracts.message import Message
from shared.topology.principals import Principal


class QueueKind(StrEnum):
    """Quorum queues for work, exclusive ones, named by the broker, for a member's own messages."""

    QUORUM = "quorum"
    EXCLUSIVE = "exclusive"


@dataclass(frozen=True)
class Subscription:
    """``principal`` receives the message in ``queue``.

    ``{instance}`` in the queue stands for the consumer's own instance name (an agent's machine,
    a job's member).
    """

    principal: Principal
    queue: str
    kind: QueueKind = QueueKind.QUORUM
    narrowed: bool = False
    """True if only messages addressed to this instance are wanted (last word of the key)."""
    awaited: bool = True
    """True if publishing fails while the queue has never been created."""


@dataclass(frozen=True)
class Route:
    """One message's way: from its publishers to its consumers."""

    message: type[Message]
    publishers: tuple[Principal, ...]
    consumers: tuple[Subscription, ...] = ()
    template: str = ""
    """The routing key, with the words that vary in braces; the message's type unless given."""
    inbox: str = ""
    """Exchange that users of the platform publish it to, where they may."""
    outlet: str = ""
    """Exchange from which users of the platform may receive it, where they may."""
    planned: tuple[Principal, ...] = ()
    """Principals that do not publish it yet: they have no permission, and nothing is bound."""

    @property
    def key(self) -> str:
        """The routing key's template, e.g. ``pod.exited.{job}``."""
        return self.template or self.message.TYPE

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the key's words that vary."""
        return tuple(re.findall(r"\{(\w+)\}", self.key))

    @cached_property
    def mandatory(self) -> bool:
        """True if a publish fails while no queue takes it.

        A message for one instance has a deadline for its answer instead: a machine without an
        agent has no queue, and its command must not wait for one for ever.
        """
        return any(
            s.kind is QueueKind.QUORUM and not s.narrowed and s.awaited for s in self.consumers
        )

    def binding(self, word: str | None = None) -> str:
        """The binding key for all such messages, or for those addressed to ``word``."""
        if not self.parameters:
            return self.key
        return self._fixed + (word if word is not None else "#")

    @property
    def key_pattern(self) -> str:
        """A regular expression that matches such routing keys, and bindings of them, only."""
        return re.escape(self._fixed) + (".+" if self.parameters else "")

    def matches(self, routing_key: str) -> bool:
        """Return whether a message published with this key can be one of these."""
        if not self.parameters:
            return routing_key == self.key
        return routing_key.startswith(self._fixed) and routing_key != self._fixed

    @cached_property
    def _fixed(self) -> str:
        return self.key.partition("{")[0]
