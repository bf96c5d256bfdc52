"""A gateway on a port of its own, before streams that keep what is appended to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
from fastapi import FastAPI

from shared.messaging.errors import BrokerUnavailable
from shared.samples import SampleBatch, decode
from shared.service.http import HttpServer


class Streams:
    """Keeps what is appended to the streams; ``down``: takes nothing, as a broker that is away."""

    def __init__(self) -> None:
        self.batches: list[SampleBatch] = []
        self.down = False

    def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
        if self.down:
            raise BrokerUnavailable("no confirm")
        self.batches += [decode(body) for _, body, _ in batches]


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of the application, which answers until the end."""
    gateway = HttpServer(app, "127.0.0.1", 0, grace_s=None)
    gateway.start()
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client
    gateway.stop()
