"""A broker, its network and the processes that use it, on a clock that only the test moves.

Only what replicas ask of a broker to share partitions is here: exclusive queues, streams, a direct
exchange, and connections that end. Frames of one channel keep their order, those of two need not.
A network that is cut delivers late what it can, and each side gives the connection up by itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from concurrent.futures import Executor, Future
from itertools import count
from random import Random
from threading import Semaphore, Thread
from types import SimpleNamespace
from typing import Any

_PATIENCE_S = (20.0, 40.0)
"""After how long without a heartbeat a side gives its connection up."""


class KilledError(BaseException):
    """The process in which this was at work is gone."""


class World:
    """The clock, and what is to happen when. One thread runs at a time, which one is decided."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.chance = Random(seed)
        self.at_work: Work | None = None
        self.watch: Callable[[], None] = lambda: None
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], object]]] = []

    def after(self, delay_s: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), act))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self.watch()
        self.now = end

    def sleep(self, seconds: float) -> None:
        """Let others go on while a pool works."""
        work = self.at_work
        assert work is not None, "only a pool's work takes time"
        self.after(seconds, work.go_on)
        work.pause()


class Work:
    """What a pool does now, in a thread that runs only when the world lets it."""

    def __init__(self, world: World, functions: list[Callable[[], object]]) -> None:
        self._world, self._functions = world, functions
        self._go, self._back = Semaphore(0), Semaphore(0)
        self._killed = self.over = False
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        if self.over:
            return
        self._world.at_work = self
        self._go.release()
        self._back.acquire()
        self._world.at_work = None

    def pause(self) -> None:
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise KilledError

    def kill(self) -> None:
        self._killed = True
        self.go_on()

    def _run(self) -> None:
        self._go.acquire()
        try:
            while self._functions and not self._killed:
                self._functions.pop(0)()
        except KilledError:
            pass
        finally:
            self.over = True
            self._back.release()


class Pool(Executor):
    """Runs what is submitted one after the other, each in its own time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[Callable[[], object]] = []
        self._work: Work | None = None
        self._dead = False

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        if not self._dead:
            self._waiting.append(lambda: function(*arguments))
            if self._work is None or self._work.over:
                self._work = Work(self._world, self._waiting)
                self._world.after(0.0, self._work.go_on)
        return Future()

    def kill(self) -> None:
        """As the end of the process would: nothing more of it happens."""
        self._dead = True
        self._waiting.clear()
        if self._work is not None:
            self._work.kill()


class Broker:
    """What the broker knows."""

    def __init__(self, world: World, partitions: int) -> None:
        self.world = world
        self.locks: dict[str, Connection] = {}
        self.streams: list[list[bytes]] = [[] for _ in range(partitions)]
        self.listeners: list[Channel] = []
        self.readers: list[tuple[Channel, int, int]] = []

    def publish_batch(self, partition: int, body: bytes) -> None:
        stream = self.streams[partition]
        stream.append(body)
        for channel, read, _ in self.readers:
            if read == partition:
                channel.arrives(len(stream) - 1, body)

    def forget(self, connection: Connection) -> None:
        self.locks = {name: c for name, c in self.locks.items() if c is not connection}
        self.listeners = [c for c in self.listeners if c.link is not connection]
        self.readers = [r for r in self.readers if r[0].link is not connection]


class Connection:
    """A link as the product's code sees it: one connection after the other, until it is killed."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.world = broker, broker.world
        self.up = self.cut = self._dead = False
        self._parts: list[Any] = []
        self._number = 0
        self._known = False
        self._held: list[Callable[[], object]] = []

    def add(self, part: Any) -> None:
        self._parts.append(part)

    def start(self) -> None:
        self.world.after(self.world.chance.uniform(0.01, 3.0), self._connect)

    def call(self, function: Callable[[], None]) -> None:
        if self.up:
            self.later(0.0, function)

    def later(self, delay_s: float, function: Callable[[], None]) -> None:
        number = self._number
        if self.up:
            self.world.after(delay_s, lambda: function() if self._is(number) else None)

    def open_channel(self, ready: Callable[[Any], None]) -> None:
        if self.up:
            channel = Channel(self)
            channel.send(lambda: channel.receive(lambda: ready(channel)))

    def worked(self) -> None: ...

    def carry(self, delay_s: float, arrive: Callable[[], object]) -> None:
        """Bring a frame over the network; while that is cut it waits, as long as both sides do."""
        number = self._number

        def land() -> None:
            if not self._is(number):
                return
            if self.cut:
                self._held.append(arrive)
            else:
                arrive()

        self.world.after(delay_s, land)

    @property
    def known(self) -> bool:
        """True if the broker still knows this connection."""
        return self._known

    def sever(self) -> None:
        """Cut the network: both sides notice, each in its own time, unless it is healed before."""
        self.cut, number = True, self._number
        self.world.after(self._patience(), lambda: self._broker_gives_up(number))
        self.world.after(self._patience(), lambda: self._client_gives_up(number))

    def heal(self) -> None:
        self.cut = False
        if self._dead:
            self._forgotten()
            return
        if self.up and not self._known:
            self.end()
        held, self._held = self._held, []
        for arrive in held:
            self.carry(0.0, arrive)
        if not self.up:
            self.start()

    def kill(self) -> None:
        """The process is gone, and its sockets with it."""
        self._dead = True
        self.up = False
        self._number += 1
        if not self.cut:
            self._forgotten()
        # Behind a cut network the broker waits for a heartbeat first.

    def end(self) -> None:
        """The client's side of the connection is over."""
        if not self.up:
            return
        self.up = False
        self._number += 1
        self._held.clear()
        for part in self._parts:
            part.disconnected()
        if not self.cut:
            self._forgotten()
            self.start()

    def _patience(self) -> float:
        return self.world.chance.uniform(*_PATIENCE_S)

    def _is(self, number: int) -> bool:
        return self.up and number == self._number and not self._dead

    def _broker_gives_up(self, number: int) -> None:
        if self.cut and number in (self._number, self._number - 1):
            self._forgotten()

    def _client_gives_up(self, number: int) -> None:
        if self.cut and self._is(number):
            self.end()

    def _forgotten(self) -> None:
        self._known = False
        self.broker.forget(self)

    def _connect(self) -> None:
        if self.up or self.cut or self._dead:
            return
        # A connection of before is not the same one to the broker.
        self._forgotten()
        self.up = self._known = True
        for part in self._parts:
            part.connected(self)


class Channel:
    """A channel: its frames keep their order."""

    def __init__(self, link: Connection) -> None:
        self.link, self._broker, self._world = link, link.broker, link.world
        self.is_open = True
        self.is_there = True
        self._sent_at = self._received_at = 0.0
        self._on_close: list[Callable[[Any, Exception], None]] = []
        self._consumer: Callable[..., None] = lambda *_: None
        self._tags = count(1)
        loop = SimpleNamespace(add_callback_threadsafe=link.call)
        self.connection = SimpleNamespace(ioloop=loop)

    def send(self, arrive: Callable[[], None]) -> None:
        """To the broker, which ignores what comes on a channel or connection it has ended."""
        self._sent_at = max(self._sent_at, self._world.now + self._latency())

        def arrived() -> None:
            if self.is_there and self.link.known:
                arrive()

        self.link.carry(self._sent_at - self._world.now, arrived)

    def receive(self, arrive: Callable[[], object]) -> None:
        """To the client."""
        self._received_at = max(self._received_at, self._world.now + self._latency())
        self.link.carry(
            self._received_at - self._world.now, lambda: arrive() if self.is_open else None
        )

    def arrives(self, offset: int, body: bytes) -> None:
        method = SimpleNamespace(
            delivery_tag=next(self._tags), exchange="", routing_key="", redelivered=False
        )
        properties = SimpleNamespace(
            headers={"x-stream-offset": offset}, message_id=None, content_type=None
        )
        self.receive(lambda: self._consumer(self, method, properties, body))

    def queue_declare(self, queue: str, *, callback: Callable[[Any], None], **_: Any) -> None:
        def declare() -> None:
            if not queue:
                frame = SimpleNamespace(method=SimpleNamespace(queue="amq.gen-1"))
                self.receive(lambda: callback(frame))
            elif self._broker.locks.setdefault(queue, self.link) is self.link:
                self.receive(lambda: callback(None))
            else:
                self._refuse("RESOURCE_LOCKED")

        self.send(declare)

    def queue_delete(self, queue: str, *, callback: Callable[[Any], None]) -> None:
        def delete() -> None:
            if self._broker.locks.get(queue, self.link) is self.link:
                self._broker.locks.pop(queue, None)
                self.receive(lambda: callback(None))
            else:
                self._refuse("RESOURCE_LOCKED")

        self.send(delete)

    def queue_bind(self, *_: Any, callback: Callable[[Any], None], **__: Any) -> None:
        self.send(lambda: self.receive(lambda: callback(None)))

    def basic_qos(self, *, callback: Callable[[Any], None], **_: Any) -> None:
        self.send(lambda: self.receive(lambda: callback(None)))

    def basic_consume(
        self, queue: str, consumer: Callable[..., None], *, arguments: Any = None, **_: Any
    ) -> str:
        self._consumer = consumer

        def consume() -> None:
            if arguments is None:
                self._broker.listeners.append(self)
                return
            partition, first = int(queue.rpartition(".")[2]), arguments["x-stream-offset"]
            start = 0 if first == "first" else first
            self._broker.readers.append((self, partition, start))
            for offset, body in enumerate(self._broker.streams[partition][start:], start):
                self.arrives(offset, body)

        self.send(consume)
        return "tag"

    def basic_publish(self, _exchange: str, _key: str, body: bytes) -> None:
        def spread() -> None:
            for listener in self._broker.listeners:
                listener.arrives(0, body)

        self.send(spread)

    def basic_ack(self, *_: Any, **__: Any) -> None: ...
    def basic_cancel(self, *_: Any) -> None: ...
    def add_on_cancel_callback(self, _: object) -> None: ...

    def add_on_close_callback(self, callback: Callable[[Any, Exception], None]) -> None:
        self._on_close.append(callback)

    def close(self) -> None:
        if self.is_open:
            self.send(self._gone)
            self._closed(Exception("closed by us"))

    def _refuse(self, reason: str) -> None:
        self.receive(lambda: self._closed(Exception(reason)))
        self._gone()

    def _gone(self) -> None:
        self.is_there = False
        self._broker.readers = [r for r in self._broker.readers if r[0] is not self]
        self._broker.listeners = [c for c in self._broker.listeners if c is not self]

    def _closed(self, reason: Exception) -> None:
        self.is_open = False
        for callback in self._on_close:
            self.link.call(lambda callback=callback: callback(self, reason))

    def _latency(self) -> float:
        return self._world.chance.uniform(0.0005, 0.02)
