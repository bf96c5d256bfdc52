"""What can go wrong with a message, and who may try again."""

from __future__ import annotations

from shared.contracts import Fault


class MessagingError(Exception):
    """Base of everything this package raises."""


class Retry(MessagingError):
    """Raised by a handler: not now, but a later attempt may succeed."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


class Reject(MessagingError):
    """Raised by a handler or the decoder: this message can never be handled."""

    def __init__(self, reason: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.faults = faults


class Unroutable(MessagingError):
    """The broker has no queue for a message that must be received by somebody."""


class BrokerUnavailable(MessagingError):
    """The broker did not confirm in time; whether it has the message is unknown."""


class NotInTopology(MessagingError):
    """The topology does not let this principal publish or consume such a message."""
