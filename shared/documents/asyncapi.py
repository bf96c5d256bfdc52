"""The AsyncAPI 3 document, for AMQP clients of the platform."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared import topology
from shared.contracts import Message
from shared.messaging.envelope import event_type
from shared.topology import Principal, Route, publishing_exchange

_HEADERS = {
    "cloudEvents_specversion": "Always 1.0.",
    "cloudEvents_id": "The event's id; the same id is the same event.",
    "cloudEvents_type": "Message type and major version. Without it the routing key decides.",
    "cloudEvents_source": "Who says it.",
    "cloudEvents_subject": "What it is about.",
    "cloudEvents_time": "When it was published, RFC 3339.",
    "traceparent": "W3C trace context.",
}


def message_schema(cls: type[Message]) -> dict[str, Any]:
    """The JSON schema of a message's body."""
    schema = cls.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def asyncapi_document() -> dict[str, Any]:
    """The whole document: a channel per message, an operation per publisher and consumer."""
    routes = topology.ROUTES
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Barograph",
            "version": "1.0.0",
            "description": "Jobs, samples and alerts over AMQP 0-9-1. Bodies are JSON, UTF-8."
            " Receivers ignore fields they do not know. Delivery is at least once.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            name: _channel(route, exchange)
            for route in routes
            for name, exchange in _channels(route).items()
        },
        "operations": dict(_operations(routes)),
        "components": {
            "messages": {_name(route): _message(route) for route in routes},
            "schemas": _all_schemas(routes),
        },
    }


def _name(route: Route) -> str:
    return route.message.__name__


def _channels(route: Route) -> dict[str, str]:
    """The channels of a message, with the exchange of each.

    One that any client may use has the message's name; those between services have the sender's
    name in theirs, unless there is but one.
    """
    inner = {p: e for p in route.publishers if (e := publishing_exchange(p, route)) != route.inbox}
    public = route.inbox or route.outlet
    found = {_name(route): public} if public else {}
    for publisher, exchange in inner.items():
        alone = not public and len(inner) == 1
        found[_name(route) if alone else f"{_name(route)}From{publisher.title()}"] = exchange
    return found


def _channel(route: Route, exchange: str) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": route.key,
        "messages": {_name(route): {"$ref": f"#/components/messages/{_name(route)}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": exchange,
                    "type": "topic",
                    "durable": True,
                    "autoDelete": False,
                    "vhost": "/",
                },
                "bindingVersion": "0.3.0",
            }
        },
    }
    parameters = route.parameters
    if parameters:
        channel["parameters"] = {name: {"description": _PARAMETERS[name]} for name in parameters}
    return channel


_PARAMETERS = {
    "job": "The job's id, with ':' for '.'.",
    "host": "The machine, with dots and other separators written as '-'.",
    "request": "The type of the refused message, e.g. job.submit.",
    "state": "predicted, firing or resolved.",
    "severity": "info, warning or critical.",
    "family": "The item's family: cpu, memory, disk, net, load, host, time, other.",
    "source": "The machine, with dots and other separators written as '-'.",
}


def _message(route: Route) -> dict[str, Any]:
    cls = route.message
    return {
        "name": event_type(cls),
        "title": cls.__name__,
        "summary": (cls.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": text} for name, text in _HEADERS.items()
            },
        },
        "payload": {"$ref": f"#/components/schemas/{cls.__name__}"},
    }


def _operations(routes: tuple[Route, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for route in routes:
        for channel, exchange in _channels(route).items():
            for publisher in route.publishers:
                if publishing_exchange(publisher, route) == exchange:
                    who = "anyClient" if publisher is Principal.OUTSIDE else str(publisher)
                    yield f"{who}Sends{_name(route)}", _operation("send", route, channel)
            if exchange == route.outlet:
                yield f"anyClientReceives{_name(route)}", _operation("receive", route, channel)
                continue
            for sub in route.consumers:
                yield f"{sub.principal}Receives{channel}", _operation("receive", route, channel)


def _operation(action: str, route: Route, channel: str) -> dict[str, Any]:
    path = f"#/channels/{channel}"
    return {
        "action": action,
        "channel": {"$ref": path},
        "messages": [{"$ref": f"{path}/messages/{_name(route)}"}],
    }


def _all_schemas(routes: tuple[Route, ...]) -> dict[str, Any]:
    """Every message's schema and the definitions they share, at one level."""
    schemas: dict[str, Any] = {}
    for route in routes:
        schema = route.message.model_json_schema(
            mode="validation", ref_template="#/components/schemas/{model}"
        )
        schemas.update(schema.pop("$defs", {}))
        schemas[route.message.__name__] = schema
    return dict(sorted(schemas.items()))
