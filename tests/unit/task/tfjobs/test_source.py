"""TFJobs as the API server shows them: watched, and listed anew where a watch is too old."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.task.tfjobs.source import ClusterTFJobs
from services.task.tfjobs.tfjob import TFJob
from shared.cluster import Conflict, Forbidden, Gone, NotFound, Object
from tests.unit.task.tfjobs.objects import tfjob
from tests.waiting import eventually

CONDITION = {
    "type": "Failed",
    "reason": "TFJobFailed",
    "message": "worker-0 ended with exit code 1",
    "lastTransitionTime": "2024-01-01T00:00:00Z",
}


class Api:
    """An API server with the TFJobs of one namespace, and the events told about them."""

    def __init__(self) -> None:
        self.items: dict[str, Object] = {}
        self.events: dict[str, Object] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.too_old = threading.Event()
        self.lists = 0
        self._version = 1
        self._turn = threading.Condition()
        self._history: list[Object] = []
        self._closed = False

    def put(self, item: Object, kind: str = "MODIFIED") -> Object:
        with self._turn:
            self._version += 1
            item = item | {"metadata": item["metadata"] | {"resourceVersion": str(self._version)}}
            self.items[item["metadata"]["name"]] = item
            if kind == "DELETED":
                del self.items[item["metadata"]["name"]]
            self._history.append({"type": kind, "object": item})
            self._turn.notify_all()
            return item

    def expire(self) -> None:
        """Nothing is watched from here on but by who lists anew."""
        with self._turn:
            self.too_old.set()
            self._turn.notify_all()

    def get(self, path: str, **_query: str) -> Object:
        if "/namespaces/team/" not in path:
            raise Forbidden(path, 403)
        with self._turn:
            self.too_old.clear()
            self.lists += 1
            version = {"resourceVersion": str(self._version)}
            return {"metadata": version, "items": list(self.items.values())}

    def watch(self, _path: str, _silence_s: float, **query: str) -> Watched:
        return Watched(self, int(query["resourceVersion"]))

    def patch(self, path: str, body: Object) -> Object:
        self.asked.append(("patch", path, body))
        item = self.items[path.split("/")[-2]]
        if body["metadata"]["uid"] != item["metadata"]["uid"]:
            raise Conflict(path)
        return self.put(item | {"status": merged(item.get("status"), body["status"])})

    def create(self, path: str, body: Object) -> Object:
        self.asked.append(("create", path, body))
        if body["metadata"]["name"] in self.events:
            raise Conflict(path)
        self.events[body["metadata"]["name"]] = body
        return body

    def delete(self, path: str, **options: Any) -> Object:
        self.asked.append(("delete", path, options))
        name = path.rpartition("/")[2]
        if name not in self.items:
            raise NotFound(path)
        self.put(self.items[name], "DELETED")
        return {}

    def close(self) -> None:
        """Whoever watches is told that this is over."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def next_after(self, version: int) -> Object | None:
        with self._turn:
            while True:
                if self._closed:
                    return None
                if self.too_old.is_set():
                    raise Gone("too old resource version", 410)
                for event in self._history:
                    if int(event["object"]["metadata"]["resourceVersion"]) > version:
                        return event
                self._turn.wait()


def merged(before: Any, patch: Any) -> Any:
    """A JSON merge patch, applied (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


class Watched:
    """One watch."""

    def __init__(self, api: Api, version: int) -> None:
        self._api, self._version = api, version

    def __iter__(self) -> Iterator[Object]:
        while (event := self._api.next_after(self._version)) is not None:
            self._version = int(event["object"]["metadata"]["resourceVersion"])
            yield event

    def cancel(self) -> None:
        self._api.close()

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def source(api: Api) -> Iterator[ClusterTFJobs]:
    server: Any = api
    made = ClusterTFJobs(server, ["team"])
    made.start()
    yield made
    made.close()


def names(source: ClusterTFJobs) -> list[str]:
    return sorted(each.name for each in source.found().get("team", []))


def test_what_is_applied_and_deleted_is_seen(api: Api, source: ClusterTFJobs) -> None:
    api.put(tfjob("a"), "ADDED")
    eventually(lambda: names(source) == ["a"], "the new object")
    api.put(tfjob("a"), "DELETED")
    eventually(lambda: names(source) == [], "its end")


def test_after_410_gone_all_is_listed_anew(api: Api, source: ClusterTFJobs) -> None:
    api.put(tfjob("a"), "ADDED")
    eventually(lambda: names(source) == ["a"], "the new object")
    lists = api.lists
    # While the watch is too old, one goes and another comes: no event tells of either.
    del api.items["a"]
    api.items["b"] = tfjob("b")
    api.expire()
    eventually(lambda: names(source) == ["b"], "another list")
    assert api.lists > lists


def test_a_namespace_that_may_not_be_listed_is_not_an_empty_one(api: Api) -> None:
    server: Any = api
    source = ClusterTFJobs(server, ["team", "secret"])
    source.start()
    eventually(lambda: "team" in source.found(), "the first list")
    assert set(source.found()) == {"team"}
    source.close()


def test_a_status_that_was_written_is_seen_at_once(api: Api, source: ClusterTFJobs) -> None:
    api.put(tfjob("a") | {"status": {"startTime": "x", "conditions": []}}, "ADDED")
    eventually(lambda: names(source) == ["a"], "the new object")
    (seen,) = source.found()["team"]
    for numbers in ({"active": 1}, {"active": 1, "failed": 1}, {"succeeded": 1}, {}):
        status = {"conditions": [CONDITION], "replicaStatuses": {"PS": numbers, "Worker": {}}}
        source.write_status(seen, status)
        (seen,) = source.found()["team"]
        assert seen.status == status
    source.write_status(seen, {"conditions": []})
    assert source.found()["team"][0].status == {"conditions": []}


def test_a_status_is_never_written_to_another_object_of_the_name(
    api: Api, source: ClusterTFJobs
) -> None:
    api.put(tfjob("a", uid="new"), "ADDED")
    with pytest.raises(Conflict):
        source.write_status(TFJob(tfjob("a", uid="old")), {"conditions": []})


def test_the_same_is_told_once_also_after_a_restart(api: Api, source: ClusterTFJobs) -> None:
    source.tell(TFJob(tfjob()), CONDITION)
    source.tell(TFJob(tfjob()), CONDITION)
    again: Any = api
    ClusterTFJobs(again, ["team"]).tell(TFJob(tfjob()), CONDITION)
    (event,) = api.events.values()
    assert event["involvedObject"]["uid"] == "u-1"
    assert (event["type"], event["reason"]) == ("Warning", "TFJobFailed")
    later = CONDITION | {"lastTransitionTime": "2024-01-01T00:00:09Z"}
    source.tell(TFJob(tfjob()), later)
    assert len(api.events) == 2


def test_deleting_names_the_very_object(api: Api, source: ClusterTFJobs) -> None:
    api.put(tfjob("a"), "ADDED")
    source.delete(TFJob(tfjob("a")))
    source.delete(TFJob(tfjob("a")))
    assert api.asked[0][2] == {"preconditions": {"uid": "u-1"}}
    assert api.items == {}
