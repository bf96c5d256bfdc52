"""The one doorway to RabbitMQ: nothing outside this package imports pika.

Publishing waits for the broker's confirm; consuming acks only what is handled; both survive a
restart of the broker. Delivery is at least once.
"""

from shared.messaging.bus import ARROW, JSON, Bus, Publisher
from shared.messaging.consumer import QueueConsumer
from shared.messaging.dead_letters import DeadLetter, DeadLetters
from shared.messaging.envelope import Delivery, Envelope, decode, message_class
from shared.messaging.errors import (
    BrokerUnavailable,
    MessagingError,
    NotInTopology,
    Reject,
    Retry,
    Unroutable,
)
from shared.messaging.publisher import Outgoing

__all__ = [
    "ARROW",
    "JSON",
    "BrokerUnavailable",
    "Bus",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Envelope",
    "MessagingError",
    "NotInTopology",
    "Outgoing",
    "Publisher",
    "QueueConsumer",
    "Reject",
    "Retry",
    "Unroutable",
    "decode",
    "message_class",
]
