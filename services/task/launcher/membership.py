"""The launcher's connection to the broker: reports, the ClusterSpec, retries."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from services.task.spec import MemberSpec
from shared.contracts import (
    ClusterSpecReady,
    LogAppended,
    Message,
    PodFenced,
    PodMeasured,
    PodReported,
    job_word,
)
from shared.messaging import (
    Bus,
    Delivery,
    MessagingError,
    Reject,
    Unpublishable,
    Unroutable,
    decode,
)

log = structlog.get_logger(__name__)

_REPORT_S = 1.0
_REMIND_S = 10.0
_PUBLISH_S = 10.0
_RETRY_S = 1.0
_MAX_QUEUED = 500
_TOGETHER = 50


class Membership:
    """Communicates with the platform about one member, over its own connection.

    Args:
        spec: the member.
        broker_url: tells the broker's URL as it is now; its token is renewed.
        on_spec: called with each newer ClusterSpec that holds this incarnation.
        on_fenced: called with the reason when this incarnation must go.
    """

    def __init__(
        self,
        spec: MemberSpec,
        broker_url: Callable[[], str],
        on_spec: Callable[[ClusterSpecReady], None],
        on_fenced: Callable[[str], None],
    ) -> None:
        self._spec = spec
        self._on_spec, self._on_fenced = on_spec, on_fenced
        member = spec.member
        word = job_word(spec.job.job_id)
        instance = f"{word}.{member.name}.{member.incarnation}"
        self._bus = Bus(broker_url, "member", instance, word=word)
        self._clustered = spec.job.type == "distribute"
        if self._clustered:
            self._bus.consume(f"member.{instance}", self._heard, prefetch=50)
        self._epoch = 0
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._queue: deque[Message] = deque()
        self._teller = threading.Thread(target=self._tell_all, name="teller", daemon=True)

    def start(self, port: int) -> None:
        """Connect; a member of a cluster reports ``port`` until it has heard the spec."""
        self._bus.start(consume=self._clustered)
        self._teller.start()
        if self._clustered:
            args = (port,)
            threading.Thread(target=self._report, args=args, name="report", daemon=True).start()

    def tell(self, message: Message) -> None:
        """Publish ``message``, now or when the broker is back; live log lines may be dropped.

        Dropped lines lie in the object store all the same; old measurements are no loss.
        """
        with self._news:
            if isinstance(message, LogAppended | PodMeasured) and len(self._queue) >= _MAX_QUEUED:
                return
            self._queue.append(message)
            self._news.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything published is confirmed; False when that took too long."""
        with self._news:
            return self._news.wait_for(lambda: not self._queue, timeout_s)

    def stop(self) -> None:
        """Close the connection."""
        self._stop.set()
        with self._news:
            self._news.notify_all()
        self._bus.stop(5.0)

    def _report(self, port: int) -> None:
        # Repeated forever, slowly once the spec is there: if our exclusive queue was lost with
        # a connection, the answer brings what we missed.
        spec = self._spec
        while True:
            report = PodReported(
                job_id=spec.job.job_id,
                member=spec.member,
                host=spec.host,
                port=port,
                pod=spec.pod,
                node=spec.node,
                at=datetime.now(UTC),
            )
            try:
                self._bus.wait_ready(_PUBLISH_S)
                self._bus.publish([report], timeout_s=_PUBLISH_S)
            except MessagingError as error:
                log.warning("report_postponed", error=str(error))
            if self._stop.wait(_REMIND_S if self._epoch else _REPORT_S):
                return

    def _heard(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            try:
                message = decode(delivery)
            except Reject as error:
                log.warning("message_not_understood", error=error.reason)
                continue
            if isinstance(message, PodFenced):
                self._fenced(message)
            elif isinstance(message, ClusterSpecReady):
                self._gathered(message)

    def _fenced(self, message: PodFenced) -> None:
        if message.job_id == self._spec.job.job_id and message.member == self._spec.member:
            self._on_fenced(message.reason)

    def _gathered(self, message: ClusterSpecReady) -> None:
        if message.job_id != self._spec.job.job_id or message.epoch <= self._epoch:
            return
        if self._spec.member in message.members:
            self._epoch = message.epoch
            self._on_spec(message)

    def _tell_all(self) -> None:
        while not self._stop.is_set():
            with self._news:
                self._news.wait_for(lambda: self._queue or self._stop.is_set())
                batch = [self._queue[i] for i in range(min(_TOGETHER, len(self._queue)))]
            if batch and self._published(batch):
                with self._news:
                    for _ in batch:
                        self._queue.popleft()
                    self._news.notify_all()

    def _published(self, batch: Sequence[Message]) -> bool:
        try:
            self._bus.publish(batch, timeout_s=_PUBLISH_S)
        except Unroutable:
            # Nobody follows logs live where no client service ever ran; the rest must get out.
            rest = [message for message in batch if not isinstance(message, LogAppended)]
            if len(rest) < len(batch):
                return self._published(rest)
            time.sleep(_RETRY_S)
            return False
        except Unpublishable as error:
            # The others are published; these would be as wrong the next time.
            log.error("reports_given_up", error=str(error), messages=len(error.faults))  # noqa: TRY400 - the text says it
        except MessagingError as error:
            log.warning("publish_postponed", error=str(error), messages=len(batch))
            time.sleep(_RETRY_S)
            return False
        except Exception:
            # Nobody starts this thread again: what nobody foresaw in one report costs that one.
            log.exception("report_failed", messages=len(batch))
            if len(batch) > 1:
                return all(self._published([message]) for message in batch)
        return True
