"""Every message contract: headers and bodies through the real inlets of the real services."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import schemathesis
from pydantic.json_schema import models_json_schema
from schemathesis.generation import GenerationMode
from structlog.testing import capture_logs

from services.autospec.main import build as build_autospec
from services.autospec.settings import AutospecSettings
from services.client.main import Client
from services.client.settings import ClientSettings
from services.healer.agent.main import Agent
from services.healer.agent.settings import AgentSettings
from services.healer.main import HealerService
from services.healer.settings import HealerSettings
from services.task.main import build as build_task
from services.task.settings import TaskSettings
from shared import topology
from shared.contracts import Message, message_types
from shared.messaging import Delivery, Outgoing
from shared.messaging.limits import fault_of
from shared.messaging.tables import decode_table
from shared.service import Service
from shared.service.inlet import Inlet
from shared.topology import Principal, Route
from tests.amqp import TABLES
from tests.hostile.fuzz.door import Door, ViolationError, drawn
from tests.hostile.fuzz.mutation import Parts

_EVERY = 16
"""So many inputs are followed by a good message, which must be handled."""


@cache
def _operations() -> dict[str, Any]:
    """An operation of an OpenAPI document for each contract: schemathesis draws its bodies."""
    types = list(message_types().values())
    schemas, told = models_json_schema(
        [(kind, "validation") for kind in types], ref_template="#/components/schemas/{model}"
    )
    paths = {
        f"/{kind.__name__}": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": schemas[kind, "validation"]}},
                },
                "responses": {"200": {"description": "taken"}},
            }
        }
        for kind in types
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": "contracts", "version": "1"},
        "components": {"schemas": told["$defs"]},
        "paths": paths,
    }
    found = schemathesis.openapi.from_dict(document).get_all_operations()
    operations = [each.ok() for each in found]
    return {operation.path[1:]: operation for operation in operations}


def bodies(kind: type[Message], seed: int, count: int) -> list[Message]:
    """Messages of that type that its contract takes."""
    strategy = _operations()[kind.__name__].as_strategy(generation_mode=GenerationMode.POSITIVE)
    found = []
    for case in drawn(strategy, seed, count):
        try:
            found.append(kind.model_validate_json(json.dumps(case.body)))
        except ValueError:
            continue  # a rule that a schema cannot say
    return found


def _queue_of(service: Service, name: str) -> str:
    return name.format(instance=service.settings.instance)


class Inlets:
    """The inlets of a service that is wired and never started, and what it would publish."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.said: list[Outgoing] = []
        self.good: dict[str, Parts] = {}
        self._entered = self.checked = 0
        principal = service.bus.principal
        self._waiting = {topology.retry_exchange(principal, s) for s in topology.RETRY_DELAYS_S}
        service.bus.publish_prepared = self._publish
        self._inlet = Inlet(
            service.bus,
            service._answering.handlers() | service._handlers,
            service.store,
            service._clock,
            read_ahead=service._read_ahead,
        )

    def _publish(self, outgoing: Sequence[Outgoing], timeout_s: float = 60.0) -> None:
        del timeout_s
        self.said += outgoing

    def seeds(self, seed: int, count: int) -> list[Parts]:
        """Good messages on the queues they belong to, below any headers."""
        tables = drawn(TABLES, seed, 2 * count)
        found: list[Parts] = []
        for name, routes in topology.subscriptions(self.service.bus.principal).items():
            if name.startswith("metrics."):
                continue  # batches, which the doors of samples try
            for route in routes:
                found += self._of_route(_queue_of(self.service, name), route, seed, tables)
        return found

    def _of_route(self, queue: str, route: Route, seed: int, tables: list[bytes]) -> list[Parts]:
        exchange = next(topology.sources(route), "")
        found: list[Parts] = []
        for number, message in enumerate(bodies(route.message, seed, 3)):
            where = (queue.encode(), exchange.encode(), message.routing_key().encode())
            body = message.model_dump_json().encode()
            table = tables[(seed + number) % len(tables)]
            self.good.setdefault(queue, (*where, b"", body, b"good", b""))
            found.append((*where, b"", body, b"id-%d" % number, b"application/json"))
            found.append((*where, table, body, b"", b""))
        return found

    def close(self) -> None:
        """Give back what the service opened when it was wired."""
        for close in self.service._closing:
            close()
        if self.service.store is not None:
            self.service.store.close()

    def enter(self, parts: Parts) -> str:
        """Have it handled; now and then a good one after it."""
        ended = self._handled(parts)
        self._entered += 1
        good = self.good.get(parts[0].decode())
        if good is not None and self._entered % _EVERY == 0:
            after = self._handled(good)
            self.checked += 1
            if after == "dead-lettered":
                reasons = [out.headers.get("x-reason") for out in self.said]
                raise ViolationError(f"the good message after it was {after}: {reasons}")
        return ended

    def _handled(self, parts: Parts) -> str:
        queue, exchange, key, table, body, name, content_type = parts
        headers, _ = decode_table(struct.pack(">I", len(table)) + table, 0)
        delivery = Delivery(
            queue.decode(),
            1,
            exchange.decode(),
            key.decode(),
            headers,
            name[:255].decode(errors="replace") or None,
            content_type[:255].decode(errors="replace") or None,
            body,
        )
        self.said.clear()
        with capture_logs() as logged:
            self._inlet.handle([delivery])
        faults = {"handler_failed", "message_unreadable"}
        failed = [line for line in logged if line["event"] in faults]
        if failed:
            raise ViolationError(f"{failed}")
        return self._ended(delivery)

    def _ended(self, delivery: Delivery) -> str:
        """Return how it ended, by what would be published; all of which AMQP must take."""
        for out in self.said:
            fault = fault_of(out)
            if fault:
                raise ViolationError(f"what it would publish cannot be sent: {fault}")
        keys = {out.routing_key for out in self.said}
        if topology.dead_letter_name(delivery.queue) in keys:
            return "dead-lettered"
        if any(out.exchange in self._waiting for out in self.said):
            return "retried"
        return "handled"


def _settings(kind: Any, folder: Path, **fields: Any) -> Any:
    return kind.model_validate(
        {
            "broker_url": "amqp://nobody:unused@127.0.0.1:1/%2F",
            "store_url": "sqlite://",
            "state_dir": folder,
            **fields,
        }
    )


def _task(folder: Path) -> Service:
    return build_task(_settings(TaskSettings, folder))


def _autospec(folder: Path) -> Service:
    return build_autospec(_settings(AutospecSettings, folder))


def _client(folder: Path) -> Service:
    client = Client(_settings(ClientSettings, folder, http_port=0))
    client.http._socket.close()  # nobody asks it anything
    return client.service


def healer(folder: Path, **fields: Any) -> HealerService:
    """A healer that is wired and never started."""
    service = HealerService(_settings(HealerSettings, folder, http_port=0, **fields))
    service.http._socket.close()
    return service


def _agent(folder: Path) -> Service:
    return Agent(_settings(AgentSettings, folder))


_SERVICES: dict[Principal, Callable[[Path], Service]] = {
    Principal.TASK: _task,
    Principal.AUTOSPEC: _autospec,
    Principal.CLIENT: _client,
    Principal.HEALER: healer,
    Principal.AGENT: _agent,
}


def _maker(principal: Principal) -> Callable[[], Door]:
    def make() -> Door:
        folder = tempfile.TemporaryDirectory(prefix="barograph-fuzz-")
        inlets = Inlets(_SERVICES[principal](Path(folder.name)))

        def close() -> None:
            inlets.close()
            folder.cleanup()

        # Where it came from is the broker's word: a stranger cannot change it.
        fixed = frozenset({0, 1, 2})
        return Door(
            f"messages-{principal}",
            inlets.seeds,
            inlets.enter,
            fixed,
            close,
            lambda: inlets.checked,
        )

    return make


DOORS = {f"messages-{principal}": _maker(principal) for principal in _SERVICES}
