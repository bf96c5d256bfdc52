"""What a mirror tells of its groups; the API server's side is in the cluster tests."""

from __future__ import annotations

from typing import Any

from shared.cluster import Mirror, Object


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
    things.learn(item("e", "z", 6))
    assert things.take_changed() == {"z"}
