"""Errors of messaging, and whether a later attempt may succeed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shared.contracts import Fault
from shared.unavailable import Unavailable

_PRECONDITION_FAILED = 406
"""AMQP's reply code, e.g. for a body larger than the broker is set to take."""


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


class Declined(Reject):
    """Raised by a handler: the request was understood, and the answer is no.

    Its sender is answered why; nobody has to look at it again, so it is no dead letter.
    """


class Unroutable(MessagingError):
    """The broker has no queue for a message that must be received.

    ``confirmed`` has the places of the others, which it has accepted.
    """

    def __init__(self, reason: str, confirmed: Collection[int] = ()) -> None:
        super().__init__(reason)
        self.confirmed = frozenset(confirmed)


class Unpublishable(MessagingError):
    """A message breaks its own contract or AMQP's limits: no attempt to publish it can succeed.

    ``faults`` has a reason for each such message by its place in what was asked to be published;
    the others are published.
    """

    def __init__(self, faults: Mapping[int, str]) -> None:
        super().__init__("; ".join(list(faults.values())[:5]))
        self.faults = dict(faults)


class BrokerUnavailable(MessagingError, Unavailable):
    """The broker did not confirm in time; whether it has the message is unknown.

    ``confirmed`` has the places of those messages that it did confirm.
    """

    def __init__(self, reason: str, confirmed: Collection[int] = ()) -> None:
        super().__init__(reason)
        self.confirmed = frozenset(confirmed)


class Refused(BrokerUnavailable):
    """The broker closed the channel over one of these messages, or a right is missing."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code
        """The broker's reply code."""

    @property
    def of_message(self) -> bool:
        """True if the message itself is what the broker does not take."""
        return self.code == _PRECONDITION_FAILED


class NotInTopology(MessagingError):
    """The topology does not let this principal publish or consume such a message."""
