"""The link to the broker: one thread owns the connection and all calls of pika.

pika's objects are not thread-safe, so nothing outside this thread touches them; other threads
hand over callables with ``call``. When the connection is lost the link reconnects with back-off
and jitter and tells its parts, which set themselves up again on the new connection.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import pika
import structlog
from pika.channel import Channel
from pika.exceptions import ConnectionClosedByBroker
from pika.frame import Method
from pika.spec import Connection

from shared.messaging.errors import MessagingError
from shared.messaging.gathering import GatheringConnection
from shared.observe import CONNECTIONS_LOST

log = structlog.get_logger(__name__)

_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.2, 5.0
_STARTING_S, _STARTING_BACKOFF_S = 30.0, 1.0
"""A broker that starts beside this process is looked for so often in the first seconds."""
_HEARTBEAT_S = 20
_ERRORS_OF_OURS = frozenset({501, 502, 503, 505, 540, 541})
"""Reply codes with which a broker closes a connection for a frame it does not take."""

Address = str | Callable[[], str]
"""A broker's URL, or a function that returns the current one and must not raise."""


class LinkPart(Protocol):
    """A user of the link, such as a publisher or a consumer."""

    def connected(self, link: Link) -> None:
        """Called in the link's thread whenever a new connection is up."""

    def disconnected(self) -> None:
        """Called in the link's thread when the connection is gone."""


class LinkParts:
    """Parts that are notified of every connection exactly once.

    A part that is added while a connection opens is reached twice: by its own ``add`` and by the
    round over all parts. Told twice, a consumer would consume twice.
    """

    def __init__(self) -> None:
        self._parts: list[LinkPart] = []
        self._told: list[LinkPart] = []

    def add(self, part: LinkPart) -> None:
        """Add a part from any thread; ``connect`` must follow in the link's thread."""
        self._parts.append(part)

    def connect(self, part: LinkPart, link: Link) -> None:
        """Notify one part of the open connection; only from the link's thread."""
        if part not in self._told:
            self._told.append(part)
            part.connected(link)

    def connect_all(self, link: Link) -> None:
        """Notify all parts of the open connection; only from the link's thread."""
        for part in list(self._parts):
            self.connect(part, link)

    def disconnect_all(self) -> None:
        """Notify all parts of the lost connection; only from the link's thread."""
        self._told.clear()
        for part in list(self._parts):
            part.disconnected()


class Link:
    """Keeps one connection open until stopped.

    Args:
        address: the broker's URL, or what tells it as it is now: its credential may be renewed.
        name: how the broker's own lists show this connection.
    """

    def __init__(self, address: Address, name: str) -> None:
        self._address = address
        self._url = self._current_url()
        self._parameters = _parameters(self._url, name)
        self._name = name
        self._parts = LinkParts()
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._connection: GatheringConnection | None = None
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"amqp-{name}", daemon=True)
        self.last_error = ""
        self.closed_for_error = False
        """True if the broker closed the last connection because of a message sent on it."""
        self.blocked = ""
        """The broker's reason to take nothing from publishers now, e.g. "low on memory"."""
        self.last_turn = time.monotonic()
        self._was_up = False
        self.lost = 0
        """The number of open connections that were lost."""
        self.fruitless = 0
        """The number of them in a row on which nothing had been confirmed or acked."""

    @property
    def up(self) -> bool:
        """True if a connection is open now."""
        return self._up.is_set()

    @property
    def alive(self) -> bool:
        """True if the link's thread still runs."""
        return self._thread.is_alive()

    @property
    def still_s(self) -> float:
        """Return how long the thread has not turned although the connection is open."""
        return time.monotonic() - self.last_turn if self.up else 0.0

    def worked(self) -> None:
        """Something was done on this connection: it is of use."""
        self.fruitless = 0

    def wait_up(self, timeout_s: float) -> bool:
        """Wait until the connection is open; False when it is not in time."""
        return self._up.wait(timeout_s)

    def add(self, part: LinkPart) -> None:
        """Attach a part before or after ``start``."""
        self._parts.add(part)
        self.call(lambda: self._parts.connect(part, self) if self._up.is_set() else None)

    def start(self) -> None:
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Run ``function`` in the link's thread, soon; dropped if there is no connection."""
        with self._lock:
            connection = self._connection
            if connection is None:
                return
            self._calls.append(function)
            connection.ioloop.add_callback_threadsafe(self._run_calls)

    def later(self, delay_s: float, function: Callable[[], None]) -> None:
        """Run ``function`` after a delay; only from the link's thread."""
        connection = self._connection
        if connection is not None and self._open():
            connection.ioloop.call_later(delay_s, function)

    def open_channel(self, ready: Callable[[Channel], None]) -> None:
        """Open a channel; only from the link's thread."""
        if self._connection is not None and self._open():
            self._connection.channel(on_open_callback=ready)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Close the connection and end the thread."""
        self._stopping.set()
        self.call(self._close)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _open(self) -> bool:
        return self._connection is not None and self._connection.is_open

    def _close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def _run_calls(self) -> None:
        connection = self._connection
        if connection is None:
            return
        with connection.together():
            while self._calls:
                self._calls.popleft()()

    def _run(self) -> None:
        backoff = _FIRST_BACKOFF_S
        begun = time.monotonic()
        while not self._stopping.is_set():
            started = time.monotonic()
            self._one_connection()
            if time.monotonic() - started > _LONGEST_BACKOFF_S:
                backoff = _FIRST_BACKOFF_S
            if not self._stopping.is_set():
                starting = self._nobody_answered_yet and started - begun < _STARTING_S
                self._pause(backoff, starting=starting)
                longest = _STARTING_BACKOFF_S if starting else _LONGEST_BACKOFF_S
                backoff = min(backoff * 2, longest)

    @property
    def _nobody_answered_yet(self) -> bool:
        return not self._was_up and ConnectionRefusedError.__name__ in self.last_error

    def _pause(self, backoff: float, *, starting: bool) -> None:
        pause = backoff * random.uniform(0.5, 1.5)
        facts = {"link": self._name, "error": self.last_error, "retry_in_s": round(pause, 2)}
        if starting:
            log.info("broker_awaited", **facts)
        else:
            log.warning("broker_connection_lost", **facts)
        self._stopping.wait(pause)

    def _current_url(self) -> str:
        return self._address if isinstance(self._address, str) else self._address()

    def _take(self) -> bool:
        """Return whether the URL has changed; it holds from the next connection on."""
        url = self._current_url()
        if url == self._url:
            return False
        self._url, self._parameters = url, _parameters(url, self._name)
        return True

    def _one_connection(self) -> None:
        self._take()
        self.closed_for_error = False
        connection = GatheringConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
        )
        with self._lock:
            self._connection = connection
            self._calls.clear()
        if self._stopping.is_set():
            connection.ioloop.add_callback_threadsafe(connection.ioloop.stop)
        try:
            connection.ioloop.start()
        except (pika.exceptions.AMQPError, OSError, AssertionError) as error:
            # pika asserts its own state when the socket dies in the middle of a frame; a
            # connection in that condition is as lost as a closed one.
            self.last_error = f"{type(error).__name__}: {error}"
        except Exception as error:
            # Whatever else is raised in here, the thread continues with a new connection: there is
            # nobody above it who could.
            log.exception("broker_connection_failed", link=self._name)
            self.last_error = f"{type(error).__name__}: {error}"
        finally:
            if self._up.is_set() and not self._stopping.is_set():
                self.lost += 1
                self.fruitless += 1
                CONNECTIONS_LOST.labels(self._name).inc()
            self._up.clear()
            self.blocked = ""
            with self._lock:
                self._connection = None
            self._parts.disconnect_all()
            connection.ioloop.close()

    def _on_open(self, connection: GatheringConnection) -> None:
        if self._stopping.is_set():
            connection.close()
            return
        log.info("broker_connected", link=self._name)
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._parts.connect_all(self)
        self._tick()
        self._was_up = True
        self._up.set()

    def _on_blocked(self, _connection: object, frame: Method[Connection.Blocked]) -> None:
        self.blocked = frame.method.reason or "no reason given"
        log.warning("broker_blocks_publishers", link=self._name, reason=self.blocked)

    def _on_unblocked(self, _connection: object, _frame: Method[Connection.Unblocked]) -> None:
        self.blocked = ""
        log.info("broker_takes_messages_again", link=self._name)

    def _tick(self) -> None:
        self.last_turn = time.monotonic()
        self._renew()
        self.later(1.0, self._tick)

    def _renew(self) -> None:
        """Show a renewed token to the broker, so that the connection outlives the one before."""
        if self._take() and self._connection is not None and self._open():
            token = self._parameters.credentials.password
            self._connection.update_secret(token, "renewed")
            log.info("broker_token_renewed", link=self._name)

    def _on_end(self, connection: GatheringConnection, reason: Exception | str) -> None:
        self.last_error = repr(reason)
        self.closed_for_error = (
            isinstance(reason, ConnectionClosedByBroker) and reason.reply_code in _ERRORS_OF_OURS
        )
        connection.ioloop.stop()


def _parameters(url: str, name: str) -> pika.URLParameters:
    parts = urlsplit(url)
    if parts.scheme not in ("amqp", "amqps") or not (parts.username and parts.password):
        # The URL itself holds a password and is not repeated here.
        raise MessagingError("a broker URL looks like amqp://user:password@host:port/vhost")
    parameters = pika.URLParameters(url)
    parameters.heartbeat = _HEARTBEAT_S
    parameters.blocked_connection_timeout = 300
    parameters.client_properties = {"connection_name": name}
    return parameters
