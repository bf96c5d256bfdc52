"""The service: starts and stops its bus, store, handlers and periodic work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial

import structlog

from shared import topology
from shared.contracts import Message, Question
from shared.loading import keep_what_is_loaded
from shared.messaging import Bus, Claim, QueueConsumer
from shared.observe import configure_logging
from shared.service.answering import Answer, Answering
from shared.service.context import Context, Handler, PartitionWorker, Periodic, ReadAhead
from shared.service.health import HealthServer
from shared.service.inlet import Inlet, utc_now
from shared.service.leadership import Leadership
from shared.service.liveness import Liveness
from shared.service.outbox import send_or_leave
from shared.service.partitions import PartitionOwner
from shared.service.periodics import Periodics
from shared.service.readiness import wrong_of
from shared.service.sharing import Sharing
from shared.service.unit import ServiceUnit
from shared.service.upkeep import Upkeep
from shared.settings import ServiceSettings
from shared.signals import on_signals
from shared.store import Records, Store, StoreInUse

log = structlog.get_logger(__name__)

_LOOK_AT_DEAD_LETTERS_S = 30.0
_LOOK_AT_PARTITIONS_S = 10.0
_LOOK_AT_LIVENESS_S = 15.0
_ANSWERED_AT_ONCE = 4


class Service:
    """Runs one service until a signal asks for its end.

    Args:
        principal: the service's principal, which decides what it may publish and consume.
        settings: its settings in force.
        handlers: a function for each message that it consumes.
        store: its database; with one, every effect happens exactly once.
        periodic: its periodic work.
        partition_worker: makes the worker of a partition, for services that read samples.
        word: the word of routing keys that addresses this instance (a machine's name); by default
            the instance.
        prefetch: unacknowledged deliveries held per queue.
        gather_s: the time for which a batch that is not full gathers after the one before.
        clock: the time; replaced in tests.
        closing: functions to call when everything has stopped.
        read_ahead: reads the records that the handlers of a batch will ask for.
        elected: whether only one replica at a time handles messages and does periodic work, while
            the others stand by (`Leadership`).
        leading: functions to call before that work begins.
        answers: functions that answer questions from a partition's worker.
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
        gather_s: float = 0.0,
        clock: Callable[[], datetime] = utc_now,
        closing: Sequence[Callable[[], None]] = (),
        read_ahead: ReadAhead | None = None,
        elected: bool = False,
        leading: Sequence[Callable[[], None]] = (),
        answers: Mapping[type[Question], Answer] | None = None,
    ) -> None:
        self.settings, self.store = settings, store
        self._clock, self._closing, self._read_ahead = clock, closing, read_ahead
        self._elected, self._leading = elected, leading
        self._prefetch, self._concurrency, self._gather_s = prefetch, concurrency, gather_s
        self.bus = Bus(
            settings.broker_url.get_secret_value(),
            principal,
            settings.instance,
            word=word,
            partitions=settings.metric_partitions,
            state_dir=settings.state_dir,
        )
        self._handlers = dict(handlers or {})
        self._consumers: list[QueueConsumer] = []
        self._claims: list[Claim] = []
        self._periodic = [*periodic]
        self._owners = [
            PartitionOwner(self.bus, number, partial(partition_worker, number), snapshot_every_s)
            for number in range(settings.metric_partitions)
            if partition_worker is not None
        ]
        self._answering = Answering(self.bus.principal, settings, self._owners, answers or {})
        self._stop, self._resigned = threading.Event(), threading.Event()
        self._health: HealthServer | None = None
        self._sharing: Sharing | None = None
        self.liveness = Liveness(self.bus, self._owners)
        self._periodics = Periodics(self._periodic, self._stop, self.liveness.turns)
        self._led = store if store is None or not elected else store.of_leader()
        self._leadership: Leadership | None = None
        if elected and store is not None and store.serves_replicas:
            self._leadership = Leadership(store.leader_row(), self._work, self._stop.set)
        self._upkeep = None if store is None else Upkeep(self.bus, store)

    @property
    def publisher(self) -> Bus:
        """The bus, for publishing outside of handlers; a call returns after the confirm."""
        return self.bus

    @property
    def dead_letters(self) -> Mapping[str, int]:
        """Return how many dead letters each work queue has, as far as it is known."""
        return self._answering.dead_letters

    @property
    def health_port(self) -> int:
        """The port of the probes, once started."""
        return self._health.port if self._health else 0

    @property
    def displaced(self) -> str:
        """The reason why another process has this one's place; empty if it has its own."""
        return next((claim.refused for claim in self._claims if claim.refused), "")

    @property
    def undisputed(self) -> bool:
        """True while the broker lets no other process have this one's place."""
        return all(claim.held for claim in self._claims)

    @property
    def stopping(self) -> threading.Event:
        """The event that is set when the service must stop."""
        return self._stop

    def wake(self, name: str | None = None) -> None:
        """Call a periodic now (all of them without a name)."""
        self._periodics.wake(name)

    def wake_eager(self) -> None:
        """Call the periodics that run after every batch of messages."""
        self._periodics.wake_eager()

    def require_leadership(self) -> None:
        """Return only if this replica may act on the outside world as the leader.

        Raises:
            NotLeader: another replica may be leading by now.
        """
        if self._leadership is not None:
            self._leadership.require()

    def unit(self) -> AbstractContextManager[ServiceUnit]:
        """One transaction for a reconciler; its messages are published after the commit.

        In an elected service only the leader may use it: a deposed replica's transaction fails
        with NotLeader. `any_unit` is for what every replica may do.
        """
        return self._unit(self._led)

    def any_unit(self) -> AbstractContextManager[ServiceUnit]:
        """A ``unit`` for what every replica may do, such as answering over HTTP."""
        return self._unit(self.store)

    @contextmanager
    def _unit(self, store: Store | None) -> Iterator[ServiceUnit]:
        if store is None or self.store is None:
            msg = "this service has no store"
            raise LookupError(msg)
        with store.unit() as unit:
            service_unit = ServiceUnit(self.bus, unit)
            yield service_unit
        send_or_leave(self.bus, self.store, service_unit.queued)

    def start(self) -> None:
        """Connect, consume, and start the periodic work; or stand by until this replica leads.

        Raises:
            StoreInUse: another process of this service uses the database, which serves only one.
        """
        log.info("service_starting", service=str(self.bus.principal), **self.settings.shown())
        if self._elected and self.store is not None:
            self.store.claim()
        queues = self._queues()
        self._consumers = [self._consumer(queue) for queue in queues]
        self._claims = [
            self.bus.claim(each) for each in self._consumers if self._is_after_instance(each.queue)
        ]
        self._answer()
        for owner in self._owners:
            self.bus.attach(owner.consumer)
            self.bus.follow_head(owner.head)
        if self._owners:
            link, membership = self.bus.consuming_link, self.bus.membership()
            self._sharing = Sharing(link, membership, self._owners)
            queues.append(topology.partitions_of(self.bus.principal))
        depth = self._answering.depth = self.bus.dead_letter_depth(queues) if queues else None
        self.bus.start()
        self._health = HealthServer(
            self.settings.health_host, self.settings.health_port, self.liveness.wrong, self._ready
        )
        self._health.start()
        start = self._periodics.start
        if self._upkeep is not None:
            start(self._upkeep.look)
        if depth is not None:
            start(Periodic("dead letters", _LOOK_AT_DEAD_LETTERS_S, depth.ask))
        if self._sharing is not None:
            start(Periodic("partitions", _LOOK_AT_PARTITIONS_S, self._sharing.show))
        start(Periodic("liveness", _LOOK_AT_LIVENESS_S, self.liveness.show))
        if self._leadership is None:
            self._work()
        else:
            self._follow(self._leadership)

    def _consumer(self, queue: str) -> QueueConsumer:
        inlet = Inlet(
            self.bus, self._handlers, self._led, self._clock, self.wake_eager, self._read_ahead
        )
        return self.bus.consume(
            queue,
            inlet.handle,
            prefetch=self._prefetch,
            concurrency=self._concurrency,
            suspended=self._leadership is not None or self._is_after_instance(queue),
            gather_s=self._gather_s,
        )

    def _is_after_instance(self, queue: str) -> bool:
        """Return whether a queue is named after this instance, so that nobody else consumes it."""
        return queue not in topology.subscriptions(self.bus.principal)

    def _work(self) -> None:
        """Consume, and start the periodic work."""
        for begin in self._leading:
            begin()
        for consumer in self._consumers:
            if not self._is_after_instance(consumer.queue):
                consumer.begin()
        if self._upkeep is not None:
            self._periodics.start(*self._upkeep.work)
        self._periodics.start(*self._periodic)

    def _follow(self, leadership: Leadership) -> None:
        self._follower = threading.Thread(
            target=leadership.follow, args=(self._resigned,), name="leadership", daemon=True
        )
        self._follower.start()

    def stop(self) -> None:
        """Finish the work in hand, let another replica lead, hand over partitions, close."""
        self._stop.set()
        for consumer in self._consumers:
            consumer.stop(20.0)
        self._periodics.join(20.0)
        if self._leadership is not None:
            self._resigned.set()
            self._follower.join(20.0)
            self._leadership.release()
        if self._sharing is not None:
            self._sharing.leave(20.0)
        for owner in self._owners:
            owner.consumer.stop(20.0)
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
        on_signals(self._stop.set)
        try:
            self.start()
        except StoreInUse as error:
            log.error("store_in_use", error=str(error))  # noqa: TRY400 - a sentence for people
            raise SystemExit(str(error)) from None
        keep_what_is_loaded()
        try:
            self._stop.wait()
        finally:
            self.stop()

    def context(self, records: Records | None = None) -> Context:
        """A context outside of any delivery."""
        return Context(self._clock(), "", 1, records)

    def _queues(self) -> list[str]:
        """The names of its work queues."""
        routes = topology.subscriptions(self.bus.principal) if self._handlers else {}
        work = [name for name, rows in routes.items() if not topology.is_exclusive(name, rows)]
        return [name.format(instance=self.settings.instance) for name in work]

    def _answer(self) -> None:
        """Consume questions to this replica, and answers to its own; neither is stored."""
        handlers = self._answering.handlers() | self._handlers
        for name, rows in topology.subscriptions(self.bus.principal).items():
            if topology.is_exclusive(name, rows):
                inlet = Inlet(self.bus, handlers, None, self._clock)
                self.bus.consume(name, inlet.handle, concurrency=_ANSWERED_AT_ONCE)

    def _ready(self) -> dict[str, str]:
        wrong = wrong_of(self.bus, self._upkeep, self._sharing, self._claims)
        return wrong | ({"service": "stopping"} if self._stop.is_set() else {})
