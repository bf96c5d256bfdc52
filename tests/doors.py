"""The whole job half with its door: the client service, its page, and ``tshell``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from services.client.main import Client
from services.client.settings import ClientSettings
from shared.embedded.process import free_ports
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.jobs import JobPlatform


class JobDoor:
    """Where people meet their jobs: ``url`` for browsers, ``tshell`` for shells."""

    def __init__(self, platform: JobPlatform, url: str) -> None:
        self.platform, self.url = platform, url

    def tshell(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        environment = dict(os.environ) | {"BAROGRAPH_URL": self.url, "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-m", "services.client.tshell", *arguments],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env=environment,
        )


@contextmanager
def job_door(
    broker: BrokerUnderTest, object_store: ObjectStoreUnderTest, directory: Path
) -> Iterator[JobDoor]:
    """Started on a free port, stopped at the end."""
    (port,) = free_ports(1)
    client = Client(
        ClientSettings(
            broker_url=SecretStr(broker.url("client")),
            store_url=SecretStr(f"sqlite:///{directory}/client.db"),
            s3_url=object_store.url,
            s3_access_key=object_store.access_key,
            s3_secret_key=SecretStr(object_store.secret_key),
            http_port=port,
        )
    )
    platform = JobPlatform(broker, object_store, directory)
    platform.client.store = None
    platform.client = client.service
    platform.start()
    try:
        yield JobDoor(platform, f"http://127.0.0.1:{port}")
    finally:
        platform.stop()
