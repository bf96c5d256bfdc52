"""Several processes of one service on one database, for tests: found, killed, stopped, replaced."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from shared.embedded.process import LOOPBACK, OwnedProcess, free_ports, wait_until
from tests.waiting import LIMIT_S


@dataclass
class Replica:
    """One process and where it says how it is."""

    process: OwnedProcess
    health: int

    def leads(self) -> bool:
        """Return whether it says so."""
        return b"\nbarograph_leads 1.0" in self.page("metrics")

    def ready(self) -> bool:
        return bool(self.page("readyz"))

    def page(self, page: str) -> bytes:
        """Return what it answers; nothing where it does not, or is not well."""
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self.health}/{page}", timeout=60
            ) as answer:
                told: bytes = answer.read()
                return told
        except (URLError, OSError):
            return b""


class Replicas:
    """Two processes of ``service``, of which one leads.

    Args:
        service: whose replicas.
        folder: for their logs.
        environment: what all of them are told.
        http: the setting of a port that each needs for itself, if the service has one.
    """

    def __init__(
        self, service: str, folder: Path, environment: Mapping[str, str], http: str = ""
    ) -> None:
        self._service, self._folder, self._http = service, folder, http
        self._environment = {**os.environ, **environment}
        self._numbers = itertools.count()
        self.running = [self._started(), self._started()]

    def leader(self) -> Replica:
        """The one that leads, when one does."""
        found: list[Replica] = []

        def one_leads() -> bool:
            found[:] = [replica for replica in self.running if replica.leads()]
            return len(found) == 1 and found[0].ready()

        wait_until(one_leads, LIMIT_S, f"a leader of {self._service}", alive=lambda: True)
        return found[0]

    def kill_leader(self) -> None:
        """As ``kill -9`` of its whole group does; another one is started."""
        leader = self.leader()
        leader.process.kill()
        self.replace(leader)

    def stop_and_continue_leader(self) -> None:
        """The leader does not run until another one leads; then it goes on where it was."""
        leader = self.leader()
        os.kill(leader.process.pid, signal.SIGSTOP)
        self.running.remove(leader)
        try:
            self.leader()
        finally:
            os.kill(leader.process.pid, signal.SIGCONT)
            self.running.append(leader)
        # It finds that its term is over, and ends.
        wait_until(
            lambda: not leader.process.alive(), LIMIT_S, "the deposed one's end", alive=_always
        )
        assert leader.process.exit_code == 0, leader.process.log_tail()
        self.replace(leader)

    def replace_all(self) -> None:
        """One after the other, as an upgrade does: the new one is there before the old one goes."""
        for old in list(self.running):
            new = self._started()
            self.running.append(new)
            wait_until(new.ready, LIMIT_S, "a replica", alive=_always)
            old.process.stop(60)
            self.running.remove(old)

    def stop(self) -> None:
        for replica in self.running:
            replica.process.kill()

    def replace(self, gone: Replica) -> None:
        """End a replica, and start another one."""
        gone.process.kill()
        self.running.remove(gone)
        self.running.append(self._started())

    def _started(self) -> Replica:
        number = next(self._numbers)
        health, http = free_ports(2)
        own = {"BAROGRAPH_INSTANCE": str(number), "BAROGRAPH_HEALTH_PORT": str(health)}
        if self._http:
            own[self._http] = str(http)
        process = OwnedProcess(
            [sys.executable, "-m", f"services.{self._service}"],
            log=self._folder / f"{self._service}-{number}.log",
            env=self._environment | own,
        )
        return Replica(process, health)


def _always() -> bool:
    return True
