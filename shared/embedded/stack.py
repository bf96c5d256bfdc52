"""Everything on one machine: servers, services and node agent, started, watched and stopped.

``python -m shared.embedded.stack DIR`` is the supervisor that ``barograph up`` leaves running.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from shared.embedded.asked_settings import AskedSettings
from shared.embedded.broker import EmbeddedBroker
from shared.embedded.files import close_to_others, own_directory
from shared.embedded.log_files import rotate
from shared.embedded.mailbox import EmbeddedMailbox
from shared.embedded.object_store import EmbeddedObjectStore
from shared.embedded.ports import DEFAULTS, KeptPorts
from shared.embedded.process import LOOPBACK, EmbeddedError, OwnedProcess
from shared.embedded.service_settings import object_settings, own_settings
from shared.embedded.stackfile import StackFile, is_ready, kept_tokens, write_stack_file
from shared.embedded.state import JobsPlace
from shared.topology import Principal

log = structlog.get_logger(__name__)

MODULES: Mapping[str, str] = {
    "task": "services.task",
    "autospec": "services.autospec",
    "detector": "services.detector",
    "predictor": "services.predictor",
    "healer": "services.healer",
    "client": "services.client",
    "agent": "services.healer.agent",
}
"""Process name to the module that is run; each name is its broker user, too."""

SUPERVISOR = "supervisor"
"""Whose log lies beside the services'."""

_READY_TIMEOUT_S = 180.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_STEADY_S = 60.0
_PORT_TAKEN = ("Address already in use", "eaddrinuse")
"""The words of a server's log when another program took its port first."""
_WATCH_S = 0.25
_STOP_TIMEOUT_S = 30.0


@dataclass
class _Watched:
    """A process that is started again when it ends, later and later if it keeps ending."""

    process: OwnedProcess
    started: float
    pause_s: float = _FIRST_PAUSE_S
    restart_at: float | None = None


@dataclass
class Stack:
    """The whole platform on this machine, its files under ``state``."""

    state: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings beyond ours, e.g. ``BAROGRAPH_DETECTOR_ENGINE``."""
    modules: Mapping[str, str] = field(default_factory=lambda: MODULES)
    default_ports: Mapping[str, int] = field(default_factory=dict)
    """Ports to take at the first start; later starts take those of the one before."""
    broker: EmbeddedBroker = field(init=False)
    object_store: EmbeddedObjectStore = field(init=False)
    mailbox: EmbeddedMailbox = field(init=False)
    file: StackFile = field(init=False)
    _watched: dict[str, _Watched] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _watcher: threading.Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.state = self.state.expanduser().resolve()
        own_directory(self.state)
        self._ports = KeptPorts(self.state / "ports.json", self.default_ports)
        self.jobs = JobsPlace.of(self.state)
        self._asked = AskedSettings()
        self.broker = EmbeddedBroker(self.state / "broker", choose=self._ports)
        self.object_store = EmbeddedObjectStore(self.state / "object-store", choose=self._ports)
        self.mailbox = EmbeddedMailbox(self.state / "mailbox", choose=self._ports)

    # Life

    def start(self) -> None:
        """Start everything and return when every service is ready.

        Raises:
            EmbeddedError: naming what did not start and the end of its log.
        """
        own_directory(self.state)
        close_to_others(self.state, spared=[self.jobs.directory])
        self.jobs.make()
        self._stopping.clear()
        try:
            self._start_servers()
            self.plan_addresses()
            for name in self.modules:
                self._launch(name)
            self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
            self._watcher.start()
            self.wait_ready()
            write_stack_file(self.state, self.file)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop services, then servers; nothing is left running."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        with ThreadPoolExecutor() as pool:
            for watched in self._watched.values():
                pool.submit(watched.process.stop, _STOP_TIMEOUT_S)
        self._watched.clear()
        self.mailbox.stop()
        self.object_store.stop()
        self.broker.stop()
        (self.state / StackFile.NAME).unlink(missing_ok=True)
        self.jobs.leave()

    def kill9(self, name: str) -> None:
        """Kill one service as a crash would; the supervisor starts it again."""
        with self._lock:
            self._watched[name].process.kill()

    def wait_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Wait until every service answers ``/readyz``; EmbeddedError names those that do not."""
        deadline = time.monotonic() + timeout_s
        waiting = set(self.modules)
        while waiting:
            waiting = {name for name in waiting if not is_ready(self.file.health[name])}
            hopeless = sorted(name for name in waiting if self._keeps_ending(name))
            if hopeless or (waiting and time.monotonic() > deadline):
                reason = "keep ending" if hopeless else f"not ready within {timeout_s:.0f} s"
                raise EmbeddedError(self._explain(hopeless or sorted(waiting), reason))
            self._stopping.wait(_WATCH_S)

    def pid(self, name: str) -> int:
        """Process id of a service (changes when it is started again)."""
        with self._lock:
            return self._watched[name].process.pid

    # Parts

    def _start_servers(self) -> None:
        with ThreadPoolExecutor() as pool:
            servers = (self.broker, self.object_store, self.mailbox)
            for started in [pool.submit(server.start) for server in servers]:
                started.result()

    def plan_addresses(self) -> None:
        """Choose the services' ports and note where everything is; the servers have theirs."""
        ports = self._ports("services", ("client", "gateway", "healer"), 0) | self._asked.ports()
        tokens = kept_tokens(self.state, ("client", "gateway", "healer")) | self._asked.tokens()
        health = self._ports("health", tuple(self.modules), 0)
        self.file = StackFile(
            supervisor_pid=os.getpid(),
            client_url=f"http://{LOOPBACK}:{ports['client']}",
            client_token=tokens["client"],
            gateway_url=f"http://{LOOPBACK}:{ports['gateway']}",
            gateway_token=tokens["gateway"],
            healer_url=f"http://{LOOPBACK}:{ports['healer']}",
            healer_token=tokens["healer"],
            s3_url=self.object_store.url,
            s3_access_key=self.object_store.access_key,
            s3_secret_key=self.object_store.secret_key,
            smtp_url=self.mailbox.url,
            maildir=str(self.mailbox.directory),
            broker_admin_url=self.broker.admin_url,
            broker_urls={str(user): self.broker.url(user) for user in Principal},
            health={name: f"http://{LOOPBACK}:{port}" for name, port in health.items()},
            logs=str(self.state / "log"),
        )

    def _launch(self, name: str) -> None:
        process = OwnedProcess(
            [sys.executable, "-m", self.modules[name]],
            log=self.state / "log" / f"{name}.log",
            env=self.environment(name),
        )
        with self._lock:
            pause = self._watched[name].pause_s if name in self._watched else _FIRST_PAUSE_S
            self._watched[name] = _Watched(process, time.monotonic(), pause)

    def environment(self, name: str) -> dict[str, str]:
        """The environment a service is started with."""
        settings = {
            "BAROGRAPH_BROKER_URL": self.broker.url(name),
            "BAROGRAPH_STORE_URL": f"sqlite:///{self.state / name}.db",
            "BAROGRAPH_STATE_DIR": str(self.state / name),
            "BAROGRAPH_HEALTH_PORT": self.file.health[name].rpartition(":")[2],
        }
        own = own_settings(name, self.file)
        if name == "task":
            own |= {"MEMBER_SIGNING_KEY": self.broker.signing_key, **self.jobs.settings()}
        root = str(Path(__file__).parents[2])
        python_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        return (
            dict(os.environ)
            | settings
            | object_settings(name, self.file)
            | self._asked.variables(name, own)
            | {"PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1"}
            | dict(self.env)
        )

    # Watching

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_S):
            for name, watched in list(self._watched.items()):
                self._watch_one(name, watched, time.monotonic())
            for path in self.log_files():
                rotate(path)

    def log_files(self) -> list[Path]:
        """The logs that processes of ours only ever append to."""
        logs = [self.state / "broker" / "log" / f"{name}.log" for name in ("node", "epmd")]
        logs += [self.state / "object-store" / "object-store.log"]
        names = [*self.modules, SUPERVISOR]
        return [*logs, *(self.state / "log" / f"{name}.log" for name in names)]

    def _watch_one(self, name: str, watched: _Watched, now: float) -> None:
        if watched.process.alive():
            if now - watched.started > _STEADY_S:
                watched.pause_s = _FIRST_PAUSE_S
        elif watched.restart_at is None:
            watched.process.kill()  # what it started goes with it
            code = watched.process.exit_code
            log.warning("service_ended", service=name, code=code, again_in_s=watched.pause_s)
            watched.restart_at = now + watched.pause_s
            watched.pause_s = min(watched.pause_s * 2, _LONGEST_PAUSE_S)
        elif now >= watched.restart_at:
            self._launch(name)

    def _keeps_ending(self, name: str) -> bool:
        with self._lock:
            # Three ends in a row: 0.5, 1 and 2 s.
            return self._watched[name].pause_s >= _FIRST_PAUSE_S * 8

    def _explain(self, names: list[str], reason: str) -> str:
        tails = [f"--- {name}\n{self._watched[name].process.log_tail()}" for name in names]
        return "\n".join([f"{', '.join(names)} {reason}; the logs end with:", *tails])


def started(make: Callable[[], Stack]) -> Stack:
    """A stack that runs; one that lost a port between choosing and using it chooses once more.

    Raises:
        EmbeddedError: as ``Stack.start``.
    """
    try:
        stack = make()
        stack.start()
    except EmbeddedError as error:
        if not any(word in str(error) for word in _PORT_TAKEN):
            raise
        log.warning("port_taken_meanwhile")
        stack = make()
        stack.start()
    return stack


def main(state: str) -> int:
    """Run a stack until SIGTERM or SIGINT."""
    os.umask(0o077)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        stack = started(lambda: Stack(Path(state), default_ports=DEFAULTS))
    except EmbeddedError as error:
        print(error, file=sys.stderr)  # noqa: T201 - its log is where this is looked for
        return 1
    try:
        while not stop.wait(1):
            pass
    finally:
        stack.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
