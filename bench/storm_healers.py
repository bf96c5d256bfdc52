"""The healers of ``bench.storm``: one on SQLite, or replicas on a private PostgreSQL."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import psutil

from shared.embedded.process import LOOPBACK, OwnedProcess, free_ports, wait_until
from shared.embedded.stackfile import is_ready
from tests.postgresql import PrivatePostgres
from tests.replicas import Replicas

_HTTP_PORT = "BAROGRAPH_HEALER_HTTP_PORT"


class Healers(Protocol):
    """The healers that work on the storm."""

    def alive(self) -> bool: ...
    def kill(self) -> None:
        """Kill the one that works, and start another one."""

    def url(self) -> str:
        """The HTTP API of one that answers; '' where this is not asked for."""

    def cpu_s(self) -> float:
        """Processor time of all that run, whatever else the machine does."""

    def log_tail(self) -> str: ...
    def stop(self) -> None: ...


class OneHealer:
    """A healer with a database file."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        health, http = free_ports(2)
        self._folder, self._http = folder, f"http://{LOOPBACK}:{http}"
        self._environment = dict(environment) | {
            "BAROGRAPH_STORE_URL": f"sqlite:///{folder}/healer.db",
            "BAROGRAPH_HEALTH_PORT": str(health),
            _HTTP_PORT: str(http),
        }
        self._process = self._started()
        ready = f"http://{LOOPBACK}:{health}"
        wait_until(lambda: is_ready(ready), 60, "the healer", alive=self.alive)

    def _started(self) -> OwnedProcess:
        return OwnedProcess(
            [sys.executable, "-m", "services.healer"],
            log=self._folder / "healer.log",
            env=self._environment,
        )

    def alive(self) -> bool:
        return self._process.alive()

    def kill(self) -> None:
        self._process.kill()
        self._process = self._started()

    def url(self) -> str:
        return self._http

    def cpu_s(self) -> float:
        return _cpu_s([self._process])

    def log_tail(self) -> str:
        return self._process.log_tail()

    def stop(self) -> None:
        self._process.stop(20)


class TwoHealers:
    """Two replicas, of which one leads; ``kill`` is that of the leader."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        (folder / "postgresql").mkdir()
        self._database = PrivatePostgres(folder / "postgresql", ("healer",))
        self._database.start()
        shared = {
            "BAROGRAPH_STORE_URL": self._database.url("healer"),
            "BAROGRAPH_STATE_DIR": str(folder / "state"),
        }
        self._replicas = Replicas("healer", folder, dict(environment) | shared, _HTTP_PORT)
        self._replicas.leader()

    def alive(self) -> bool:
        return any(each.process.alive() for each in self._replicas.running)

    def kill(self) -> None:
        self._replicas.kill_leader()

    def url(self) -> str:
        return ""

    def cpu_s(self) -> float:
        return _cpu_s(each.process for each in self._replicas.running)

    def log_tail(self) -> str:
        return "\n".join(each.process.log_tail() for each in self._replicas.running)

    def stop(self) -> None:
        self._replicas.stop()
        self._database.stop()


def _cpu_s(processes: Iterable[OwnedProcess]) -> float:
    families = (psutil.Process(each.pid) for each in processes)
    members = itertools.chain.from_iterable(
        (process, *process.children(recursive=True)) for process in families
    )
    return sum(sum(member.cpu_times()[:2]) for member in members)
