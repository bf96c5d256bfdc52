"""The service: its bus, its store, its handlers and its periodic work, started and stopped."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog

from shared import topology
from shared.contracts import Message
from shared.messaging import Bus
from shared.observe import OUTBOX, OUTBOX_SET_ASIDE, configure_logging
from shared.service.context import Context, Handler, PartitionWorker, Periodic, ReadAhead
from shared.service.health import HealthServer
from shared.service.inlet import Inlet, utc_now
from shared.service.liveness import Liveness, Turn
from shared.service.outbox import send_or_leave, send_queued
from shared.service.partitions import PartitionOwner
from shared.service.sharing import Sharing
from shared.service.unit import ServiceUnit
from shared.settings import ServiceSettings
from shared.store import Records, Store, StoreUnavailable
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)

_INBOX_KEPT = timedelta(days=8)
_LOOK_AT_DEAD_LETTERS_S = 30.0
_LOOK_AT_STORE_S = 5.0
_LOOK_AT_PARTITIONS_S = 10.0
_LOOK_AT_LIVENESS_S = 15.0


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
        self._sharing: Sharing | None = None
        self._liveness = Liveness(self.bus, self._owners)
        self._store_error = ""

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
            service_unit = ServiceUnit(self.bus, unit)
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
            self.bus.follow_head(owner.head)
        if self._owners:
            link, membership = self.bus.consuming_link, self.bus.membership()
            self._sharing = Sharing(link, membership, self._owners)
            queues.append(topology.partitions_of(self.bus.principal))
        depth = self.bus.dead_letter_depth(queues) if queues else None
        self.bus.start()
        self._health = HealthServer(
            self.settings.health_host, self.settings.health_port, self._liveness.wrong, self._ready
        )
        self._health.start()
        if self.store is not None:
            self._spawn(Periodic("outbox", 2.0, self._relay))
            self._spawn(Periodic("inbox", 3600.0, self._forget))
            self._spawn(Periodic("store", _LOOK_AT_STORE_S, self._look_at_store))
        if depth is not None:
            self._spawn(Periodic("dead letters", _LOOK_AT_DEAD_LETTERS_S, depth.ask))
        if self._sharing is not None:
            self._spawn(Periodic("partitions", _LOOK_AT_PARTITIONS_S, self._sharing.show))
        self._spawn(Periodic("liveness", _LOOK_AT_LIVENESS_S, self._liveness.show))
        for periodic in self._periodic:
            self._spawn(periodic)

    def stop(self) -> None:
        """Finish what is held, hand partitions over, close."""
        self._stop.set()
        self.wake()
        if self._sharing is not None:
            self._sharing.leave(20.0)
        for owner in self._owners:
            owner.consumer.stop(20.0)
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
        turn = Turn(max(periodic.every_s, periodic.pause_s), periodic.limit_s)
        self._liveness.turns[periodic.name] = turn

        def loop() -> None:
            while not self._stop.is_set():
                event.clear()
                try:
                    periodic.run()
                except Unavailable as error:
                    log.warning("periodic_postponed", periodic=periodic.name, error=str(error))
                    turn.done()
                except Exception as error:
                    # The other broad except of the runner: periodic work is tried again.
                    log.exception("periodic_failed", periodic=periodic.name)
                    turn.failed(error)
                else:
                    turn.done()
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

    def _look_at_store(self) -> None:
        if self.store is None:
            return
        try:
            self.store.reachable()
        except StoreUnavailable as error:
            self._store_error = str(error)
            raise
        self._store_error = ""

    def _ready(self) -> dict[str, str]:
        wrong = {}
        if not self.bus.ready:
            wrong["broker"] = self.bus.last_error or "not connected yet"
        if blocked := self.bus.blocked:
            wrong["publishing"] = f"the broker blocks publishers: {blocked}"
        if self._store_error:
            wrong["store"] = self._store_error
        if outage := self.bus.outage:
            wrong["handling"] = f"waits: {outage}"
        if self._sharing is not None:
            wrong |= self._sharing.wrong()
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
