"""A queue of one's own on an exchange, read through the broker's management API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx


class Tap:
    """Remembers everything that came with the bound keys.

    Args:
        admin_url: the management API, with an administrator's login.
        name: the queue.
        bindings: binding keys by exchange; ``alerts`` and ``job-events`` are for everybody.
    """

    def __init__(self, admin_url: str, name: str, bindings: Mapping[str, Iterable[str]]) -> None:
        self._admin_url, self._name = admin_url, name
        self.seen: list[dict[str, Any]] = []
        arguments = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
        self._call("put", f"queues/%2F/{name}", arguments)
        for exchange, keys in bindings.items():
            for key in keys:
                self._call("post", f"bindings/%2F/e/{exchange}/q/{name}", {"routing_key": key})

    def take(self) -> list[dict[str, Any]]:
        """Everything so far, oldest first, with its routing ``key``.

        If the broker is briefly unavailable, the list is only older. Messages that it returns are
        gone from the queue, even if nobody waits for the answer, so only few are requested at once.
        """
        get = {"count": 1000, "ackmode": "ack_requeue_false", "encoding": "auto"}
        try:
            letters = self._call("post", f"queues/%2F/{self._name}/get", get)
        except httpx.HTTPError:
            return self.seen
        self.seen += [{"key": m["routing_key"], **json.loads(m["payload"])} for m in letters or []]
        return self.seen

    def _call(self, method: str, path: str, body: dict[str, Any]) -> Any:
        url = f"{self._admin_url}/api/{path}"
        answer = httpx.request(method, url, json=body, timeout=300, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else None
