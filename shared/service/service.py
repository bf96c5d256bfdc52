"""The service: its bus, its store, its handlers and its periodic work, started and stopped."""

from __future__ import annotations

import gc
import hashlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog

from shared import topology
from shared.contracts import Message
from shared.messaging import BrokerUnavailable, Bus, Unpublishable
from shared.observe import OUTBOX, OUTBOX_SET_ASIDE, SET_ASIDE, configure_logging
from shared.service.context import Context, Handler, PartitionWorker, Periodic, ReadAhead
from shared.service.health import HealthServer
from shared.service.inlet import Inlet, utc_now
from shared.service.outbox import as_queued, send_or_leave, send_queued
from shared.service.partitions import PartitionOwner, show_owned
from shared.settings import ServiceSettings
from shared.store import Queued, Records, Store, StoreUnavailable
from shared.store.store import Unit

log = structlog.get_logger(__name__)

_INBOX_KEPT = timedelta(days=8)
_LOOK_AT_DEAD_LETTERS_S = 30.0
_MAX_SHOWN = 100_000
"""Characters that are kept of an event that is no valid message."""


class ServiceUnit:
    """One transaction of a reconciler: records to change, messages to send when it commits."""

    def __init__(self, service: Service, unit: Unit) -> None:
        self._service = service
        self._unit = unit
        self.records: Records = unit.records
        self.queued: list[Queued] = []

    def emit(self, *messages: Message) -> None:
        """Send ``messages`` once this transaction is committed.

        What breaks its contract or AMQP's limits is kept in the outbox for an operator: the work
        of the transaction, and the other messages, must not wait for it for ever.
        """
        self.queued += self._unit.enqueue([self._prepared(message) for message in messages])

    def _prepared(self, message: Message) -> Queued:
        try:
            return as_queued(self._service.bus.prepare(message))
        except Unpublishable as error:
            log.exception("event_set_aside", type=message.TYPE)
            SET_ASIDE.labels("outbox").inc()
            body = repr(message)[:_MAX_SHOWN].encode("utf-8", "backslashreplace")
            identity = hashlib.sha256(body).hexdigest()
            return Queued(
                "", message.TYPE, identity, {}, body, mandatory=False, set_aside=str(error)
            )


class Service:
    """Runs one service until told to stop.

    Args:
        principal: who it is; decides what it may publish and consume.
        settings: its effective settings.
        handlers: a function for each message it consumes.
        store: where it keeps state; with one, every effect happens exactly once.
        periodic: what it does from time to time.
        partition_worker: makes the worker of a partition, for services that read samples.
        word: what addresses messages to this instance (a machine's name); default: instance.
        prefetch: unacknowledged deliveries held per queue.
        clock: what time it is; for tests.
        closing: what is to be closed when nothing of it works any more.
        read_ahead: reads what the handlers of a batch will ask for.
    """

    def __init__(
        self,
        principal: str,
        settings: ServiceSettings,
        *,
        handlers: Mapping[type[Message], Handler] | None = None,
        store: Store | None = None,
        periodic: Sequence[Periodic] = (),
        partition_worker: Callable[[int], PartitionWorker] | None = None,
        snapshot_every_s: float = 10.0,
        word: str = "",
        prefetch: int = 500,
        concurrency: int = 1,
        clock: Callable[[], datetime] = utc_now,
        closing: Sequence[Callable[[], None]] = (),
        read_ahead: ReadAhead | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self._clock = clock
        self._closing = closing
        self._read_ahead = read_ahead
        self.bus = Bus(
            settings.broker_url.get_secret_value(),
            principal,
            settings.instance,
            word=word,
            partitions=settings.metric_partitions,
            state_dir=settings.state_dir,
        )
        self._handlers = dict(handlers or {})
        self._prefetch = prefetch
        self._concurrency = concurrency
        self._periodic = [*periodic]
        self._wakes = {p.name: threading.Event() for p in self._periodic}
        self._eager = [self._wakes[p.name] for p in self._periodic if p.eager]
        self._owners = [
            PartitionOwner(self.bus, number, _bound(partition_worker, number), snapshot_every_s)
            for number in range(settings.metric_partitions)
            if partition_worker is not None
        ]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._health: HealthServer | None = None
        self._outbox_lock = threading.Lock()

    @property
    def publisher(self) -> Bus:
        """For publishing outside of handlers; returns after the confirm."""
        return self.bus

    @property
    def health_port(self) -> int:
        """Where the probes listen, once started."""
        return self._health.port if self._health else 0

    @property
    def stopping(self) -> threading.Event:
        """Set when the service has been told to stop."""
        return self._stop

    def wake(self, name: str | None = None) -> None:
        """Call a periodic now (all of them without a name)."""
        for key, event in self._wakes.items():
            if name in (None, key):
                event.set()

    def wake_eager(self) -> None:
        """Call what is to be called after every batch of messages."""
        for event in self._eager:
            event.set()

    @contextmanager
    def unit(self) -> Iterator[ServiceUnit]:
        """One transaction for a reconciler; its messages are published after the commit."""
        if self.store is None:
            msg = "this service has no store"
            raise LookupError(msg)
        with self.store.unit() as unit:
            service_unit = ServiceUnit(self, unit)
            yield service_unit
        send_or_leave(self.bus, self.store, service_unit.queued)

    def start(self) -> None:
        """Connect, consume, and begin the periodic work."""
        log.info("service_starting", service=str(self.bus.principal), **self.settings.shown())
        queues = self._queues()
        for queue in queues:
            inlet = Inlet(
                self.bus,
                self._handlers,
                self.store,
                self._clock,
                self.wake_eager,
                self._read_ahead,
            )
            self.bus.consume(
                queue, inlet.handle, prefetch=self._prefetch, concurrency=self._concurrency
            )
        for owner in self._owners:
            self.bus.attach(owner.consumer)
        depth = self.bus.dead_letter_depth(queues) if queues else None
        self.bus.start()
        self._health = HealthServer(
            self.settings.health_host, self.settings.health_port, self._live, self._ready
        )
        self._health.start()
        if self.store is not None:
            self._spawn(Periodic("outbox", 2.0, self._relay))
            self._spawn(Periodic("inbox", 3600.0, self._forget))
        if depth is not None:
            self._spawn(Periodic("dead letters", _LOOK_AT_DEAD_LETTERS_S, depth.ask))
        if self._owners:
            self._spawn(Periodic("partitions", 5.0, lambda: show_owned(self._owners)))
        for periodic in self._periodic:
            self._spawn(periodic)

    def stop(self) -> None:
        """Finish what is held, store snapshots, close."""
        self._stop.set()
        self.wake()
        for owner in self._owners:
            if owner.consumer.stop(20.0):
                owner.snapshot()
        for thread in self._threads:
            thread.join(20.0)
        self.bus.stop()
        if self._health:
            self._health.stop()
        for close in self._closing:
            close()
        if self.store is not None:
            self.store.close()
        log.info("service_stopped", service=str(self.bus.principal))

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; only from the main thread."""
        configure_logging(self.settings.log_level)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self.start()
        # What start-up left lives as long as the process; a collection need not walk it each time.
        gc.collect()
        gc.freeze()
        try:
            while not self._stop.wait(0.5):
                pass
        finally:
            self.stop()

    def context(self, records: Records | None = None) -> Context:
        """A context outside of any delivery."""
        return Context(self._clock(), "", 1, records)

    def _queues(self) -> list[str]:
        patterns = topology.subscriptions(self.bus.principal) if self._handlers else {}
        return [pattern.format(instance=self.settings.instance) for pattern in patterns]

    def _spawn(self, periodic: Periodic) -> None:
        event = self._wakes.setdefault(periodic.name, threading.Event())

        def loop() -> None:
            while not self._stop.is_set():
                event.clear()
                try:
                    periodic.run()
                except (BrokerUnavailable, StoreUnavailable) as error:
                    log.warning("periodic_postponed", periodic=periodic.name, error=str(error))
                except Exception:
                    # The other broad except of the runner: periodic work is tried again.
                    log.exception("periodic_failed", periodic=periodic.name)
                if periodic.pause_s:
                    self._stop.wait(periodic.pause_s)
                event.wait(periodic.every_s)

        thread = threading.Thread(target=loop, name=f"periodic-{periodic.name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _relay(self) -> None:
        """Send what a crash or an absent broker left in the outbox."""
        if self.store is None or not self.bus.ready:
            return
        with self._outbox_lock:
            # Fresh rows are being sent by whoever wrote them.
            left = self.store.unsent(older_than_s=5.0)
            OUTBOX.set(len(left))
            OUTBOX_SET_ASIDE.set(self.store.set_aside_count())
            send_queued(self.bus, self.store, left)

    def _forget(self) -> None:
        if self.store is not None:
            self.store.forget_handled(_INBOX_KEPT)

    def _live(self) -> dict[str, str]:
        return {} if self.bus.alive else {"messaging": "its thread has ended"}

    def _ready(self) -> dict[str, str]:
        wrong = {}
        if not self.bus.ready:
            wrong["broker"] = self.bus.last_error or "not connected yet"
        if self._stop.is_set():
            wrong["service"] = "stopping"
        return wrong


def _bound(
    worker: Callable[[int], PartitionWorker] | None, number: int
) -> Callable[[], PartitionWorker]:
    if worker is None:
        msg = "no partition worker"
        raise LookupError(msg)
    return lambda: worker(number)
