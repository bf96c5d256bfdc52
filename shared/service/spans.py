"""The span of a message that is handled, and of a batch of samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared import traces
from shared.contracts import Message
from shared.messaging import Delivery, Envelope
from shared.traces import Kind, Span, Value
from shared.unavailable import Unavailable

_MAX_PROBLEM = 500


def of_message(delivery: Delivery, message: Message, envelope: Envelope) -> Span:
    """The span of handling a message, which begins now."""
    attributes: dict[str, Value] = {}
    if traces.collected():
        attributes = _attributes(delivery.queue) | {
            "messaging.message.id": envelope.id,
            "barograph.subject": message.subject(),
        }
    parent = traces.following(envelope.traceparent, message.about_job())
    return traces.begin(f"process {message.TYPE}", Kind.CONSUMER, parent, attributes)


def finish(message: Message, span: Span, problem: str = "") -> None:
    """The message is handled.

    The span of what is published repeatedly, such as a heartbeat, is not exported: of a job
    of days there would be nothing else to see.
    """
    if message.ONCE:
        span.end(problem)


@contextmanager
def handling(delivery: Delivery, message: Message, envelope: Envelope) -> Iterator[Span]:
    """The span of handling a message in the block; an exception marks it as failed."""
    span = of_message(delivery, message, envelope)
    try:
        yield span
    except Unavailable:
        raise  # it waits, and is handled later
    except Exception as error:
        finish(message, span, f"{type(error).__name__}: {error}"[:_MAX_PROBLEM])
        raise
    finish(message, span)


@contextmanager
def taking(delivery: Delivery) -> Iterator[None]:
    """Samples go on to their streams in the block, the first of them from this delivery."""
    parent = Envelope.of(delivery).traceparent
    span = traces.begin("take samples", Kind.CONSUMER, parent, _attributes(delivery.queue))
    with traces.within(span.traceparent):
        yield
    span.end()


@contextmanager
def batch(delivery: Delivery, offset: int) -> Iterator[None]:
    """A batch of samples is worked on in the block; what follows from it is in its trace."""
    parent = delivery.headers.get("traceparent")
    if not isinstance(parent, str) or traces.parts(parent) is None:
        yield
        return
    attributes = _attributes(delivery.queue) | {"barograph.offset": offset}
    span = traces.begin("process samples", Kind.CONSUMER, parent, attributes)
    with traces.within(span.traceparent):
        yield
    span.end()


def _attributes(queue: str) -> dict[str, Value]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
    }
