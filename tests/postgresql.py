"""A private PostgreSQL, started by the script the chart's quickstart runs in its pod."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path

import psycopg

from shared.embedded.process import (
    LOOPBACK,
    EmbeddedError,
    OwnedProcess,
    free_ports,
    wait_until,
)

SCRIPT = Path(__file__).parents[1] / "charts/barograph/files/postgresql.sh"
_START_TIMEOUT_S = 120.0


class PrivatePostgres:
    """A database for each of ``services``, each with an owner of the same name."""

    def __init__(self, state: Path, services: tuple[str, ...] = ("task",)) -> None:
        self._state = state
        self._passwords = {name: secrets.token_hex(8) for name in services}
        self._port = free_ports(1)[0]
        self._process: OwnedProcess | None = None

    def url(self, service: str = "task", password: str | None = None) -> str:
        secret = self._passwords[service] if password is None else password
        return f"postgresql+psycopg://{service}:{secret}@{LOOPBACK}:{self._port}/{service}"

    def start(self) -> None:
        """Start and return when it lets its services in."""
        self._write_secrets()
        command = ["/bin/sh", str(SCRIPT)]
        if os.geteuid() == 0:
            # The server refuses to run as root; the package has a user for it.
            owner = pwd.getpwnam("postgres")
            for path in (self._state, *self._state.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            for parent in self._state.parents[:4]:  # pytest's private directories
                parent.chmod(parent.stat().st_mode | 0o011)
            ids = [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
            command = ["setpriv", *ids, *command]
        self._process = OwnedProcess(command, log=self._state / "log", env=self._environment())
        try:
            wait_until(
                self._answers,
                _START_TIMEOUT_S,
                "PostgreSQL",
                alive=self._process.alive,
            )
        except EmbeddedError as error:
            tail = self._process.log_tail()
            self.stop()
            raise EmbeddedError(f"{error}; its log ends with:\n{tail}") from error

    def _answers(self) -> bool:
        """Return whether it lets somebody in: it listens before it does."""
        url = self.url(next(iter(self._passwords))).replace("+psycopg", "")
        try:
            psycopg.connect(url, connect_timeout=60).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop at once but in order, as the chart's pre-stop hook does."""
        if self._process is not None:
            if self._process.alive():
                os.kill(self._process.pid, signal.SIGINT)
            self._process.stop(30)
            self._process = None

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{binaries()}:/usr/bin:/bin",
            "PGDATA": str(self._state / "data"),
            "PGPORT": str(self._port),
            "SECRETS": str(self._state / "secrets"),
            "LISTEN": LOOPBACK,
        }

    def _write_secrets(self) -> None:
        directory = self._state / "secrets"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "password").write_text(secrets.token_hex(8))
        lines = []
        for name, password in self._passwords.items():
            lines.append(f"CREATE ROLE {name} LOGIN PASSWORD '{password}';")
            lines.append(f"CREATE DATABASE {name} OWNER {name};")
            lines.append(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;")
        (directory / "init.sql").write_text("".join(f"{line}\n" for line in lines))


def binaries() -> Path:
    """Return where ``initdb`` and ``postgres`` are; Debian keeps them off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = str(found[-1]) if found else shutil.which("initdb")
    if program is None:
        raise EmbeddedError("PostgreSQL is not installed: run `make setup`")
    return Path(program).parent
