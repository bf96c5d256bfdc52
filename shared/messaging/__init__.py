"""Access to RabbitMQ; only this package imports pika.

Publishing waits for the broker's confirm; consuming acks only what is handled; both survive a
restart of the broker. Delivery is at least once.
"""

import shared.messaging.tables  # noqa: F401 - it replaces pika's own decoder
from shared.messaging.bus import ARROW, JSON, Bus, Publisher
from shared.messaging.claim import Claim
from shared.messaging.consumer import QueueConsumer
from shared.messaging.dead_letters import DeadLetter, DeadLetters
from shared.messaging.envelope import Delivery, Envelope, decode, message_class
from shared.messaging.errors import (
    BrokerUnavailable,
    Declined,
    MessagingError,
    NotInTopology,
    Refused,
    Reject,
    Retry,
    Unpublishable,
    Unroutable,
)
from shared.messaging.limits import Outgoing

__all__ = [
    "ARROW",
    "JSON",
    "BrokerUnavailable",
    "Bus",
    "Claim",
    "DeadLetter",
    "DeadLetters",
    "Declined",
    "Delivery",
    "Envelope",
    "MessagingError",
    "NotInTopology",
    "Outgoing",
    "Publisher",
    "QueueConsumer",
    "Refused",
    "Reject",
    "Retry",
    "Unpublishable",
    "Unroutable",
    "decode",
    "message_class",
]
