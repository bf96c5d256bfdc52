"""Tests of what a mirror tells of its groups; the API server's side is in the cluster tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shared.cluster import ClusterUnavailable, Forbidden, Gone, Mirror, Mirrors, Object
from tests.waiting import eventually


def item(name: str, group: str, version: int = 1) -> Object:
    return {
        "metadata": {"namespace": "n", "name": name, "resourceVersion": str(version)},
        "g": group,
    }


class Pages:
    """An API server that lists this."""

    def __init__(self, *items: Object) -> None:
        self.items = list(items)

    def get(self, _path: str, **_query: str) -> Object:
        return {"metadata": {"resourceVersion": "9"}, "items": self.items}


def mirror(*items: Object, gone: list[str] | None = None) -> tuple[Mirror, Pages]:
    pages = Pages(*items)
    cluster: Any = pages

    def note(kept: Object) -> None:
        if gone is not None:
            gone.append(kept["metadata"]["name"])

    return Mirror(cluster, "/things", group=lambda kept: str(kept["g"]), on_deleted=note), pages


def names(mirror: Mirror, group: str) -> set[str]:
    return {kept["metadata"]["name"] for kept in mirror.of(group)}


def test_what_was_listed_is_found_by_its_group_and_told_as_changed_once() -> None:
    things, _ = mirror(item("a", "x"), item("b", "x"), item("c", "y"), item("d", ""))
    things._list()
    assert names(things, "x") == {"a", "b"}
    assert things.groups() == {"x", "y"}
    assert len(things.items()) == 4
    assert things.take_changed() == {"x", "y"}
    assert things.take_changed() == set()


def test_events_change_their_group_and_a_group_without_anything_is_gone() -> None:
    things, _ = mirror(item("a", "x"), item("c", "y"))
    things._list()
    things.take_changed()
    things._apply({"type": "MODIFIED", "object": item("a", "x", 2)})
    assert things.take_changed() == {"x"}
    things._apply({"type": "DELETED", "object": item("c", "y", 3)})
    assert things.take_changed() == {"y"}
    assert things.groups() == {"x"}
    assert things.of("y") == []


def test_an_object_that_changes_its_group_leaves_the_former_one() -> None:
    things, _ = mirror(item("a", "x"))
    things._list()
    things.take_changed()
    things._apply({"type": "MODIFIED", "object": item("a", "y", 2)})
    assert things.take_changed() == {"x", "y"}
    assert things.groups() == {"y"}


def test_what_a_new_list_lacks_went_unseen_and_is_told_of_like_any_other() -> None:
    gone: list[str] = []
    things, pages = mirror(item("a", "x"), item("b", "y"), gone=gone)
    things._list()
    things.take_changed()
    pages.items = [item("b", "y")]
    things._list()
    assert gone == ["a"]
    assert "x" in things.take_changed()
    assert things.groups() == {"y"}


def test_who_finds_an_object_gone_finds_remembered_what_it_was() -> None:
    seen: list[int] = []
    cluster: Any = Pages(item("a", "x"))
    things = Mirror(
        cluster,
        "/things",
        group=lambda kept: str(kept["g"]),
        on_deleted=lambda _kept: seen.append(len(things.of("x"))),
    )
    things._list()
    things._apply({"type": "DELETED", "object": item("a", "x", 2)})
    assert seen == [1]
    assert things.of("x") == []


def test_an_own_answer_is_taken_in_unless_it_is_older_than_what_is_known() -> None:
    things, _ = mirror(item("a", "x", 5))
    things._list()
    things.take_changed()
    things.learn(item("a", "x", 4))
    assert things.take_changed() == set()
    things.learn(item("e", "z", 10))
    assert things.take_changed() == {"z"}


def test_what_was_made_while_a_list_was_under_way_is_not_taken_for_deleted() -> None:
    gone: list[str] = []
    things, pages = mirror(item("a", "x", 5), gone=gone)
    things._list()
    listed = pages.get

    def meanwhile(path: str, **query: str) -> Object:
        answer = listed(path, **query)
        things.learn(item("made", "y", 10))
        things.learn(item("a", "changed", 11))
        return answer

    pages.get = meanwhile
    things._list()
    assert gone == []
    assert things.groups() == {"y", "changed"}


def test_what_was_deleted_before_its_own_answer_came_stays_away() -> None:
    things, _ = mirror()
    things._list()
    things._apply({"type": "ADDED", "object": item("made", "x", 10)})
    things._apply({"type": "DELETED", "object": item("made", "x", 11)})
    things.learn(item("made", "x", 10))
    assert things.groups() == set()
    things.learn(item("made", "x", 12))
    assert things.groups() == {"x"}, "it was made again"


def test_an_event_that_is_older_than_an_own_answer_brings_nothing_back() -> None:
    things, _ = mirror(item("a", "x", 5))
    things._list()
    things.learn(item("a", "z", 12))
    things._apply({"type": "MODIFIED", "object": item("a", "y", 10)})
    things._apply({"type": "DELETED", "object": item("a", "y", 11)})
    assert things.groups() == {"z"}
    things._apply({"type": "MODIFIED", "object": item("a", "z", 12)})
    things._apply({"type": "DELETED", "object": item("a", "z", 13)})
    assert things.groups() == set()


class Namespaces:
    """An API server that lists what lies in some namespaces, and refuses all others."""

    def __init__(self, **items: list[Object]) -> None:
        self.items = items

    def get(self, path: str, **_query: str) -> Object:
        namespace = path.split("/")[4]
        if namespace not in self.items:
            raise Forbidden(f"{namespace} is not yours", 403)
        return {"metadata": {"resourceVersion": "9"}, "items": self.items[namespace]}

    def watch(self, _path: str, *_: Any, **_query: str) -> Any:
        raise Forbidden("no watching here", 403)


def in_namespace(namespace: str, name: str, group: str, version: int = 1) -> Object:
    found = item(name, group, version)
    return found | {"metadata": found["metadata"] | {"namespace": namespace}}


def test_several_namespaces_are_read_as_one_and_a_refusing_one_holds_up_its_own_alone() -> None:
    server: Any = Namespaces(
        home=[in_namespace("home", "a", "x")], vision=[in_namespace("vision", "a", "y")]
    )
    pods = Mirrors(
        server, ("v1", "pods"), ["home", "vision", "gone"], group=lambda kept: str(kept["g"])
    )
    assert not pods.synced
    pods.start()
    eventually(lambda: pods.synced, "lists of both namespaces")
    pods.stop()
    assert pods.groups() == {"x", "y"} == pods.take_changed()
    (found,) = pods.of("y")
    assert found == pods.get("vision", "a") != pods.get("home", "a")
    assert pods.get("gone", "a") is None
    assert len(pods.items()) == 2
    pods.learn(in_namespace("vision", "b", "y", 10))
    assert len(pods.of("y")) == 2


def test_without_its_home_nothing_is_taken_for_listed() -> None:
    server: Any = Namespaces(vision=[])
    pods = Mirrors(server, ("v1", "pods"), ["home", "vision"])
    pods.start()
    refused = pods._of["home"]
    eventually(lambda: refused.refused and pods._of["vision"].synced, "both answers")
    assert not pods.synced
    pods.stop()


@pytest.mark.parametrize("answer", ["gone", "cut off", "silent"])
def test_watches_that_end_at_once_are_not_begun_again_without_a_pause(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hasty(Pages):
        watches = 0

        def watch(self, *_: object, **_query: str) -> Any:
            self.watches += 1
            return self

        def __iter__(self) -> Iterator[Object]:
            if answer == "gone":
                raise Gone("too old", 410)
            if answer == "silent":
                raise ClusterUnavailable("read timed out")
            return iter(())

        def close(self) -> None:
            """Nothing is open."""

    server: Any = Hasty()
    things = Mirror(server, "/things")
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 5:
            things._stopping.set()
        return things._stopping.is_set()

    monkeypatch.setattr(things._stopping, "wait", wait)
    things._follow()
    assert server.watches <= 5
    assert all(seconds > 0 for seconds in pauses)
