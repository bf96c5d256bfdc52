"""The brokers tests may run against; all look alike to a test."""

from __future__ import annotations

import os
import subprocess
from typing import Any, Protocol

import httpx
import pytest

from shared.embedded.broker import EmbeddedBroker, find_server
from shared.embedded.broker_users import ADMIN, definitions, random_passwords
from shared.embedded.process import LOOPBACK, EmbeddedError, accepts, free_ports, wait_until
from shared.messaging import Bus
from shared.topology import Principal

_IMAGE = os.environ.get("BAROGRAPH_TEST_BROKER_IMAGE", "rabbitmq:3.13-management")
_AMQP, _MANAGEMENT = 5672, 15672


class BrokerUnderTest(Protocol):
    """A running RabbitMQ."""

    def url(self, user: str = ADMIN) -> str:
        """AMQP URL of the administrator or of a principal (``broker.url("task")``)."""

    @property
    def admin_url(self) -> str:
        """Management API, with name and password."""

    signing_key: str
    """Private key of the tokens it accepts, '' where it accepts none."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def restart(self) -> None:
        """Stop and start in order; durable contents stay."""

    def kill9(self) -> None:
        """Kill it as a crash would; ``start`` brings it back."""

    def control(self, *arguments: str) -> None:
        """Run ``rabbitmqctl`` on its node."""


class PrivateBroker(EmbeddedBroker):
    """A node of our own from this machine's RabbitMQ package."""

    def control(self, *arguments: str) -> None:
        # Beside the server's script; Debian's wrapper would look for the system's node.
        program = find_server().with_name("rabbitmqctl")
        subprocess.run(
            [program, "--node", self._name, *arguments],
            env=self._environment(),
            capture_output=True,
            check=True,
        )


class ExternalBroker:
    """A broker somebody else runs; it is used as it is, with one user for all principals."""

    signing_key = ""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, user: str = ADMIN) -> str:
        del user  # whoever runs it gave us one
        return self._url

    @property
    def admin_url(self) -> str:
        pytest.fail("this test needs the management API of a broker of its own")

    def start(self) -> None:
        """It runs already; it is given the exchanges, which nobody else may declare."""
        bus = Bus(self._url, Principal.OPERATOR)
        bus.start()
        try:
            bus.wait_ready(60)
        finally:
            bus.stop()

    def stop(self) -> None:
        """It is not ours to stop."""

    def restart(self) -> None:
        pytest.fail("this test restarts the broker and needs one of its own")

    kill9 = restart

    def control(self, *arguments: str) -> None:
        del arguments
        pytest.fail("this test changes the broker's limits and needs one of its own")


class ContainerBroker:
    """testcontainers' RabbitMQ, where a Docker engine is present; published on loopback."""

    signing_key = ""

    def __init__(self) -> None:
        self._passwords = random_passwords()
        self._amqp, self._management = free_ports(2)
        self._container: Any = None

    def start(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().start()
            self._await_ready()
            return
        # Only this variant needs Docker's client library.
        from docker.errors import DockerException
        from testcontainers.community.rabbitmq import RabbitMqContainer

        try:
            self._container = RabbitMqContainer(
                _IMAGE, username=ADMIN, password=self._passwords[ADMIN]
            )
            # Its own methods cannot publish on one address only.
            self._container.ports = {
                _AMQP: (LOOPBACK, self._amqp),
                _MANAGEMENT: (LOOPBACK, self._management),
            }
            self._container.start()
        except DockerException as error:
            raise EmbeddedError(f"--broker=container needs a Docker engine: {error}") from error
        self._await_ready()
        answer = httpx.post(
            f"{self.admin_url}/api/definitions", json=definitions(self._passwords), timeout=60
        )
        answer.raise_for_status()

    def _await_ready(self) -> None:
        ports = (self._amqp, self._management)
        wait_until(
            lambda: all(accepts(port) for port in ports), 120, "RabbitMQ", alive=lambda: True
        )

    def url(self, user: str = ADMIN) -> str:
        return f"amqp://{user}:{self._passwords[user]}@{LOOPBACK}:{self._amqp}/%2F"

    @property
    def admin_url(self) -> str:
        return f"http://{ADMIN}:{self._passwords[ADMIN]}@{LOOPBACK}:{self._management}"

    def stop(self) -> None:
        self._container.stop()
        self._container = None

    def restart(self) -> None:
        self._container.get_wrapped_container().restart()
        self._await_ready()

    def kill9(self) -> None:
        self._container.get_wrapped_container().kill()

    def control(self, *arguments: str) -> None:
        ended = self._container.exec(["rabbitmqctl", *arguments])
        assert ended.exit_code == 0, ended.output.decode()
