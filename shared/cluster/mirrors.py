"""One kind of object in several namespaces, each watched separately with its own permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from shared.cluster.cluster import Cluster, Object, path_of
from shared.cluster.mirror import Mirror


class Mirrors:
    """A ``Mirror`` of each namespace, read as one.

    Args:
        cluster: the API server.
        kind: API version and plural of the kind.
        namespaces: the home first. Of the others one that cannot be seen holds nobody up.
        asked: further arguments of ``Mirror``.
    """

    def __init__(
        self, cluster: Cluster, kind: tuple[str, str], namespaces: Sequence[str], **asked: Any
    ) -> None:
        self._of = {name: Mirror(cluster, path_of(*kind, name), **asked) for name in namespaces}

    def start(self) -> None:
        for mirror in self._of.values():
            mirror.start()

    def stop(self) -> None:
        """Returns when nothing is watched any more."""
        for mirror in self._of.values():
            mirror.stop()

    @property
    def synced(self) -> bool:
        """True if every namespace has been listed, but for those beside the home that refuse it."""
        home, *others = self._of.values()
        return home.synced and all(each.synced or each.refused for each in others)

    def items(self) -> list[Object]:
        """Everything, as of now."""
        return self._all(Mirror.items)

    def get(self, namespace: str, name: str) -> Object | None:
        found = self._of.get(namespace)
        return found.get(namespace, name) if found is not None else None

    def of(self, group: str) -> list[Object]:
        """The current objects of ``group``."""
        return self._all(lambda mirror: mirror.of(group))

    def groups(self) -> set[str]:
        """Groups of which anything is there."""
        return set().union(*(mirror.groups() for mirror in self._of.values()))

    def take_changed(self) -> set[str]:
        """Groups of which something came, changed or went since this was asked last."""
        return set().union(*(mirror.take_changed() for mirror in self._of.values()))

    def learn(self, item: Object) -> None:
        """Take in what an own request has just answered, if it is news."""
        self._of[item["metadata"]["namespace"]].learn(item)

    def _all(self, read: Callable[[Mirror], list[Object]]) -> list[Object]:
        def each() -> Iterator[Object]:
            for mirror in self._of.values():
                yield from read(mirror)

        return list(each())
