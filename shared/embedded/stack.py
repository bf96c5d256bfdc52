"""Everything on one machine: servers, services and node agent, started, watched and stopped."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

import structlog

from shared.changes import changed
from shared.embedded.asked_settings import AskedSettings
from shared.embedded.broker import EmbeddedBroker, check_room
from shared.embedded.files import close_to_others, own_directory
from shared.embedded.forks import Forks, forks
from shared.embedded.kept import WATCH_S, Kept, Service
from shared.embedded.log_files import rotate
from shared.embedded.mailbox import EmbeddedMailbox
from shared.embedded.object_store import EmbeddedObjectStore
from shared.embedded.patience import Patience
from shared.embedded.ports import KeptPorts
from shared.embedded.process import LOOPBACK, EmbeddedError, OwnedProcess, past_proxies
from shared.embedded.service_settings import object_settings, own_settings
from shared.embedded.stackfile import StackFile, is_ready, kept_tokens, write_stack_file
from shared.embedded.state import JobsPlace
from shared.setting_sources import VARIABLE as CONFIG
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
"""The servers whose logs are kept beside the services'."""

_READY_TIMEOUT_S = 180.0


@dataclass
class Stack:
    """The whole platform on this machine, its files under ``state``."""

    state: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings beyond ours, e.g. ``BAROGRAPH_DETECTOR_ENGINE``."""
    modules: Mapping[str, str] = field(default_factory=lambda: MODULES)
    default_ports: Mapping[str, int] = field(default_factory=dict)
    """Ports to take at the first start; later starts take those of the one before."""
    say: Callable[[str], object] = lambda _: None
    """Called for each part that has started, with a text for people."""
    ending: threading.Event = field(default_factory=threading.Event)
    """Set, by another thread, when it is to end even before it has started."""
    broker: EmbeddedBroker = field(init=False)
    object_store: EmbeddedObjectStore = field(init=False)
    mailbox: EmbeddedMailbox = field(init=False)
    file: StackFile = field(init=False)
    _forks: Forks | None = field(default=None, init=False)
    _failing: set[Path] = field(default_factory=set, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _watchers: list[threading.Thread] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.state = self.state.expanduser().resolve()
        own_directory(self.state)
        self._ports = KeptPorts(self.state / "ports.json", self.default_ports)
        self.jobs = JobsPlace.of(self.state)
        named = os.environ.get(CONFIG, "")
        self._asked = AskedSettings(Path(named) if named else None)
        self.broker = EmbeddedBroker(self.state / "broker", choose=self._ports)
        self.object_store = EmbeddedObjectStore(self.state / "object-store", choose=self._ports)
        self.mailbox = EmbeddedMailbox(self.state / "mailbox", choose=self._ports)
        self._servers = {
            "broker": Kept("broker", self.broker),
            "object-store": Kept("object-store", self.object_store),
        }
        self._processes = {name: Service(partial(self._launch, name)) for name in self.modules}
        self._services = {name: Kept(name, each) for name, each in self._processes.items()}

    # Life

    def start(self) -> None:
        """Start everything and return when every service is ready.

        Raises:
            EmbeddedError: naming what did not start and the end of its log.
        """
        own_directory(self.state)
        check_room(self.state)
        close_to_others(self.state, spared=[self.jobs.directory])
        self.jobs.make()
        self._stopping.clear()
        try:
            self.plan_addresses()
            with forks(self._surroundings()) as self._forks:
                self._start_servers_and_services()
            self._forks = None
            self._start_watching()
            self.wait_ready()
            write_stack_file(self.state, self.file)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop services, then servers; nothing is left running."""
        self._stopping.set()
        for watcher in self._watchers:
            watcher.join()
        self._watchers.clear()
        with ThreadPoolExecutor() as pool:
            for service in self._services.values():
                pool.submit(service.stop)
        self.mailbox.stop()
        self._servers["object-store"].stop()
        self._servers["broker"].stop()
        (self.state / StackFile.NAME).unlink(missing_ok=True)
        self.jobs.leave()

    def kill9(self, name: str) -> None:
        """Kill one service as a crash would; the supervisor starts it again."""
        self._processes[name].process.kill()

    def restart(self, server: str) -> None:
        """Stop and start ``broker`` or ``object-store`` with its contents."""
        self._servers[server].restart()

    @property
    def config(self) -> Path | None:
        """The file with its settings."""
        return self._asked.config

    def reload(self, config: Path | None) -> list[str]:
        """Restart the services whose settings in the file have changed; return their names.

        Args:
            config: the file from now on; None for none.

        Raises:
            SettingsError: when the file cannot be read; nothing is restarted then.
            EmbeddedError: when ports or tokens have changed, for which nothing is restarted, or
                when a service does not start with its new settings.
        """
        asked, before = AskedSettings(config), self._asked
        if (asked.ports(), asked.tokens()) != (before.ports(), before.tokens()):
            raise EmbeddedError(
                "ports and tokens of a running stack stay: `barograph down` and `up` change them"
            )
        self._asked = asked
        self.file = changed(self.file, config=str(config or ""))
        write_stack_file(self.state, self.file)
        names = [name for name in self.modules if asked.of_file(name) != before.of_file(name)]
        for name in names:
            self._services[name].restart()
        if names:
            self.wait_ready()
        return names

    def wait_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Wait until every service answers ``/readyz``; EmbeddedError names those that do not."""
        patience = Patience(timeout_s)
        waiting = set(self.modules)
        while waiting:
            if self.ending.is_set():
                raise EmbeddedError("it was asked to end while it was starting")
            before, waiting = waiting, {n for n in waiting if not is_ready(self.file.health[n])}
            if before != waiting:
                self.say(f"ready: {', '.join(n for n in self.modules if n in before - waiting)}")
            hopeless = sorted(name for name in waiting if self._services[name].keeps_ending)
            if hopeless or (waiting and patience.is_over()):
                late = f"not ready within {patience.waited_s:.0f} s"
                reason = "keep ending" if hopeless else late
                raise EmbeddedError(self._explain(hopeless or sorted(waiting), reason))
            self.ending.wait(WATCH_S)

    def pid(self, name: str) -> int:
        """Process id of a service (changes when it is started again)."""
        return self._processes[name].process.pid

    # Parts

    def _start_servers_and_services(self) -> None:
        with ThreadPoolExecutor() as pool:
            servers = self._servers | {"mailbox": self.mailbox}
            starts = {pool.submit(server.start): name for name, server in servers.items()}
            # Services load their modules while the servers start, and connect when those answer.
            for service in self._services.values():
                service.start()
            for started in as_completed(starts):
                started.result()
                self.say(f"ready: {starts[started]}")

    def plan_addresses(self) -> None:
        """Choose the services' ports and note where everything is; the servers chose theirs."""
        ports = self._ports("services", ("client", "gateway", "healer"), 0) | self._asked.ports()
        tokens = kept_tokens(self.state, ("client", "gateway", "healer")) | self._asked.tokens()
        health = self._ports("health", tuple(self.modules), 0)
        asked = {f"services.{name}" for name in self._asked.ports()}
        notes = [note for name, note in self._ports.notes.items() if name not in asked]
        for note in notes:
            self.say(f"note: {note}")
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
            config=str(self.config or ""),
            notes="\n".join(notes),
        )

    def _launch(self, name: str) -> OwnedProcess:
        module, log_file = self.modules[name], self.state / "log" / f"{name}.log"
        environment = self.environment(name)
        if self._forks:
            try:
                return self._forks.launch(module, log=log_file, env=environment)
            except OSError as error:
                log.warning("service_not_forked", service=name, reason=str(error))
        return OwnedProcess([sys.executable, "-m", module], log=log_file, env=environment)

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
        asked = self._asked.variables(name, own)
        mine = settings | object_settings(name, self.file) | asked | {CONFIG: self.file.config}
        return self._surroundings(mine)

    def _surroundings(self, mine: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """The variables that all services' environments have in common, and ``mine`` of one of
        them.
        """
        root = str(Path(__file__).parents[2])
        python_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        return (
            dict(os.environ)
            | past_proxies(os.environ)
            | {"BAROGRAPH_STATE_DIR": str(self.state)}
            | dict(mine)
            | {"PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1"}
            | dict(self.env)
        )

    # Watching

    def _start_watching(self) -> None:
        acts: dict[str, Callable[[], None]] = {
            name: partial(kept.keep, self._stopping)
            for name, kept in (self._services | self._servers).items()
        }
        for name, act in (acts | {"logs": self._rotate_logs}).items():
            watcher = threading.Thread(target=act, name=f"watch-{name}", daemon=True)
            watcher.start()
            self._watchers.append(watcher)

    def _rotate_logs(self) -> None:
        while not self._stopping.wait(WATCH_S):
            for path in self.log_files():
                self._rotate(path)

    def _rotate(self, path: Path) -> None:
        """Rotate a log if it is due; a disk that is full now may have room in the next round."""
        try:
            rotate(path)
        except Exception:
            if path not in self._failing:
                log.exception("log_not_rotated", path=str(path))
            self._failing.add(path)
        else:
            self._failing.discard(path)

    def log_files(self) -> list[Path]:
        """The logs that processes of ours only ever append to."""
        logs = [self.state / "broker" / "log" / f"{name}.log" for name in ("node", "epmd")]
        logs += [self.state / "object-store" / "object-store.log"]
        names = [*self.modules, SUPERVISOR]
        return [*logs, *(self.state / "log" / f"{name}.log" for name in names)]

    def _explain(self, names: list[str], reason: str) -> str:
        tails = [f"--- {name}\n{self._processes[name].process.log_tail()}" for name in names]
        return "\n".join([f"{', '.join(names)} {reason}; the logs end with:", *tails])
