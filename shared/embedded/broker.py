"""A private RabbitMQ node: own directories, ports, cookie, epmd and users, on loopback only."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from shared.embedded.broker_users import ADMIN, definitions, password_makers
from shared.embedded.files import kept_secrets, own_directory, write_private
from shared.embedded.log_files import GENERATIONS, MAX_BYTES
from shared.embedded.ports import Chosen, any_free
from shared.embedded.process import (
    LOOPBACK,
    EmbeddedError,
    OwnedProcess,
    accepts,
    wait_until,
)
from shared.embedded.stream_coordinator import forgotten_coordinator, remember_coordinator
from shared.messaging import tokens
from shared.messaging.limits import MAX_MESSAGE_BYTES

_PLUGINS = (
    "rabbitmq_management",
    "rabbitmq_stream",
    "rabbitmq_prometheus",
    "rabbitmq_consistent_hash_exchange",
    tokens.PLUGIN,
)
# Debian's /usr/sbin wrapper switches to the system user and its directories; this does not.
_SERVER = "lib/rabbitmq/bin/rabbitmq-server"
_SIGNING_KEY = "signing key"
_MIN_FREE_BYTES = 200_000_000
"""The free disk space below which the broker takes no messages."""
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Ports:
    """The node's loopback ports."""

    amqp: int
    management: int
    stream: int
    prometheus: int
    distribution: int
    epmd: int


_DOORS = tuple(each.name for each in fields(Ports))


@dataclass
class EmbeddedBroker:
    """A RabbitMQ node of our own under ``state``; start it, and stop it when done."""

    state: Path
    partitions: int = 4
    choose: Chosen = any_free
    """Gives the ports, by name."""
    ports: Ports = field(init=False)
    passwords: dict[str, str] = field(init=False)
    signing_key: str = field(init=False, repr=False)
    """Private key of the tokens it accepts."""
    _node: OwnedProcess | None = field(default=None, init=False)
    _epmd: OwnedProcess | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.state = self.state.resolve()
        self.ports = Ports(**self.choose("broker", _DOORS, 0))
        own_directory(self.state)
        makers = password_makers() | {_SIGNING_KEY: tokens.new_signing_key}
        self.passwords = kept_secrets(self.state / "secrets.json", makers)
        self.signing_key = self.passwords.pop(_SIGNING_KEY)
        self._name = ""

    # Addresses

    def url(self, user: str = ADMIN) -> str:
        """AMQP URL with the user's password, e.g. ``amqp://task:…@127.0.0.1:5672/%2F``."""
        password = urllib.parse.quote(self.passwords[user])
        return f"amqp://{user}:{password}@{LOOPBACK}:{self.ports.amqp}/%2F"

    @property
    def admin_url(self) -> str:
        """Management API with the administrator's name and password in it."""
        return f"http://{ADMIN}:{self.passwords[ADMIN]}@{LOOPBACK}:{self.ports.management}"

    @property
    def pid(self) -> int | None:
        return self._node.pid if self._node else None

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while the broker runs."""
        return self._node.exit_code if self._node else None

    # Life

    def start(self) -> None:
        """Start and return when the node serves AMQP; EmbeddedError says why it does not."""
        server = find_server()
        self._write_configuration()
        environment = self._environment()
        forgotten = forgotten_coordinator(self.state / "data")
        epmd = shutil.which("epmd")
        if epmd is None:
            raise EmbeddedError("Erlang's epmd is not installed: run `make setup`")
        logs = self.state / "log"
        # Our own epmd, as a child; a node would start a shared daemon that is never stopped.
        self._epmd = OwnedProcess(
            [epmd, "-port", str(self.ports.epmd), "-address", LOOPBACK],
            log=logs / "epmd.log",
            env=environment,
        )
        try:
            self._await(self._epmd, self.ports.epmd, "epmd")
            self._node = OwnedProcess([server], log=logs / "node.log", env=environment)
            self._await(self._node, self.ports.amqp, "RabbitMQ")
            self._await(self._node, self.ports.management, "RabbitMQ's management API")
            if forgotten:
                control = server.with_name("rabbitmqctl")
                remember_coordinator(forgotten, control, self._name, environment)
        except BaseException:
            self.kill9()
            raise

    def _await(self, process: OwnedProcess, port: int, what: str) -> None:
        try:
            wait_until(lambda: accepts(port), _START_TIMEOUT_S, what, alive=process.alive)
        except EmbeddedError as error:
            raise EmbeddedError(f"{error}; its log ends with:\n{process.log_tail()}") from error

    def alive(self) -> bool:
        return self._node is not None and self._node.alive()

    def stop(self) -> None:
        """Stop the node in order, then epmd; nothing is left running."""
        for process in (self._node, self._epmd):
            if process is not None:
                process.stop(_STOP_TIMEOUT_S)
        self._node = self._epmd = None

    def kill9(self) -> None:
        """Kill node and epmd at once, as a crash would."""
        for process in (self._node, self._epmd):
            if process is not None:
                process.kill()
        self._node = self._epmd = None

    def restart(self) -> None:
        """Stop and start with the same ports, users and durable contents."""
        self.stop()
        self.start()

    # Configuration

    def _environment(self) -> dict[str, str]:
        state = str(self.state)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        return kept | {
            "HOME": state,  # Erlang's cookie lies there
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_CONF_ENV_FILE": f"{state}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{state}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{state}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{state}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{state}/data",
            "RABBITMQ_LOG_BASE": f"{state}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{state}/generated",
            "RABBITMQ_PID_FILE": f"{state}/node.pid",
            "RABBITMQ_DIST_PORT": str(self.ports.distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                # No busy waiting: several nodes share a few cores in tests.
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none"
            ),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.ports.epmd),
            "ERL_CRASH_DUMP_BYTES": "0",
            # The start script then becomes the node, so that our signals reach it.
            "RUNNING_UNDER_SYSTEMD": "1",
        }

    def _node_name(self) -> str:
        # The contents belong to the name, so it stays as long as the directory does.
        path = self.state / "node-name"
        if not path.exists():
            write_private(path, f"barograph{secrets.token_hex(4)}@localhost")
        return path.read_text()

    def _write_configuration(self) -> None:
        own_directory(self.state)
        self._name = self._node_name()
        for name in ("data", "log", "generated"):
            own_directory(self.state / name)
        write_private(self.state / ".erlang.cookie", secrets.token_hex(20), 0o400)
        write_private(self.state / "rabbitmq-env.conf", "")
        write_private(self.state / "enabled_plugins", f"[{','.join(_PLUGINS)}].\n")
        write_private(self.state / "definitions.json", json.dumps(definitions(self.passwords)))
        write_private(self.state / "members.pem", tokens.public_key(self.signing_key))
        settings = {
            "listeners.tcp.local": f"{LOOPBACK}:{self.ports.amqp}",
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": self.ports.management,
            "load_definitions": self.state / "definitions.json",
            "stream.listeners.tcp.local": f"{LOOPBACK}:{self.ports.stream}",
            "prometheus.tcp.ip": LOOPBACK,
            "prometheus.tcp.port": self.ports.prometheus,
            "disk_free_limit.absolute": _MIN_FREE_BYTES,
            "vm_memory_high_watermark.absolute": "2GB",
            # The default of 512 MB is kept in memory, too.
            "raft.wal_max_size_bytes": 64_000_000,
            "max_message_size": MAX_MESSAGE_BYTES,
            "log.file.level": "warning",
            "log.file.rotation.size": MAX_BYTES,
            "log.file.rotation.count": GENERATIONS,
        } | tokens.server_settings(self.state / "members.pem")
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        write_private(self.state / "rabbitmq.conf", text)


def check_room(directory: Path) -> None:
    """Raise EmbeddedError where a broker would start and let everybody wait.

    Args:
        directory: where it would keep its files.
    """
    free = shutil.disk_usage(directory).free
    if free < _MIN_FREE_BYTES:
        raise EmbeddedError(
            f"{directory} has {free // 10**6} MB of free disk space, and the broker takes messages "
            f"only with {_MIN_FREE_BYTES // 10**6} MB: make room, or name a directory on another "
            "disk with --state"
        )


def find_server(prefixes: Iterable[str] = ("/usr", "/usr/local", "/opt/rabbitmq")) -> Path:
    """The server's start script; raises EmbeddedError with advice if it is missing."""
    for prefix in prefixes:
        for script in (Path(prefix, _SERVER), Path(prefix, "sbin/rabbitmq-server")):
            if script.is_file() and script != Path("/usr/sbin/rabbitmq-server"):
                return script
    raise EmbeddedError(
        "RabbitMQ is not installed on this machine: run `make setup-embedded` as root, or install "
        "the package rabbitmq-server"
    )
