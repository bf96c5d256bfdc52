"""A local copy of some objects, kept up to date: list, then watch, and list again periodically.

Level-triggered: who reads it sees what is, not what happened. A missed event is fixed by the
next list at the latest.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog

from shared.cluster.cluster import Cluster, Object, Watch
from shared.cluster.errors import ClusterError, ClusterUnavailable, Forbidden, Gone, NotFound

log = structlog.get_logger(__name__)

_WATCH_S = 240
_SILENCE_S = 90.0
_RESYNC_S = 1800.0
_PAUSE_S, _MAX_PAUSE_S = 0.5, 15.0
_MIN_WATCH_S = 1.0
"""A watch that ends sooner was cut off, by a proxy for example: the next one waits a moment."""
_PAGE = "500"

Key = tuple[str, str]
"""Namespace and name."""


class Mirror:
    """A copy of the objects below ``path`` that match ``selector``.

    Args:
        selector: label selector, '' for all.
        fields: field selector, '' for all.
        keep: what to keep of each object, at least its namespace, name and resourceVersion.
        group: what the kept belongs to, for ``of`` and ``take_changed``; '' for nothing.
        on_deleted: called from the watching thread with what was kept of an object that is gone.
    """

    def __init__(
        self,
        cluster: Cluster,
        path: str,
        *,
        selector: str = "",
        fields: str = "",
        keep: Callable[[Object], Object] = lambda item: item,
        group: Callable[[Object], str] = lambda _item: "",
        on_deleted: Callable[[Object], None] = lambda _item: None,
    ) -> None:
        self._cluster, self._path = cluster, path
        asked = {"labelSelector": selector, "fieldSelector": fields}
        self._query = {name: value for name, value in asked.items() if value}
        self._keep, self._group, self._on_deleted = keep, group, on_deleted
        self._items: dict[Key, Object] = {}
        self._groups: dict[str, dict[Key, Object]] = {}
        self._changed: set[str] = set()
        self._learnt: set[Key] = set()
        """Keys of own answers that came since the last list was asked for."""
        self._seen = 0
        """The version up to which everything that happened is known here."""
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._synced = threading.Event()
        self.refused = False
        """True if the API server shows nothing here: no rights, or no such namespace."""
        self._watching: Watch | None = None
        self._thread = threading.Thread(target=self._follow, name=f"watch {path}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing is watched any more."""
        self._stopping.set()
        if self._watching is not None:
            self._watching.cancel()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    def items(self) -> list[Object]:
        """Everything, as of now."""
        with self._turn:
            return list(self._items.values())

    def get(self, namespace: str, name: str) -> Object | None:
        with self._turn:
            return self._items.get((namespace, name))

    def of(self, group: str) -> list[Object]:
        """The objects that belong to ``group``, as of now."""
        with self._turn:
            return list(self._groups.get(group, {}).values())

    def groups(self) -> set[str]:
        """Groups of which anything is there."""
        with self._turn:
            return set(self._groups)

    def take_changed(self) -> set[str]:
        """Groups of which something came, changed or went since this was asked last."""
        with self._turn:
            changed, self._changed = self._changed, set()
            return changed

    def learn(self, item: Object) -> None:
        """Take in what an own request has just answered, if it is news."""
        with self._turn:
            key, known = _key(item), self._items.get(_key(item))
            # An object that is missing after its time has been deleted since.
            before = self._seen if known is None else _version(known)
            if before < _version(item):
                self._learnt.add(key)
                self._put(key, self._keep(item))

    def _follow(self) -> None:
        pause = _PAUSE_S
        while not self._stopping.is_set():
            try:
                version = self._list()
                pause = _PAUSE_S
                self._watch(version)
            except Gone:
                log.info("watch_outdated", path=self._path)
            except (Forbidden, NotFound) as error:
                log.warning("watch_refused", path=self._path, error=str(error))
                self.refused = True
                pause = _MAX_PAUSE_S
            except ClusterError as error:
                log.warning("watch_interrupted", path=self._path, error=str(error))
            except Exception:
                # The last resort: nobody starts this thread again, and without it all that is
                # known of the cluster stays as it is.
                log.exception("watch_failed", path=self._path)
            self._stopping.wait(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _MAX_PAUSE_S)

    def _list(self) -> str:
        found: dict[Key, Object] = {}
        with self._turn:
            self._learnt.clear()
        query = {**self._query, "limit": _PAGE}
        while True:
            page = self._cluster.get(self._path, **query)
            for item in page.get("items") or []:
                found[_key(item)] = self._keep(item)
            if not page["metadata"].get("continue"):
                break
            query["continue"] = page["metadata"]["continue"]
        with self._turn:
            # An object created during the list request is newer than the list.
            lacking = self._items.keys() - found.keys() - self._learnt
            gone = {key: self._items[key] for key in lacking}
        for item in gone.values():
            self._on_deleted(item)
        with self._turn:
            for key in gone:
                self._drop(key)
            for key, item in found.items():
                if key not in self._learnt or self._is_news(key, item):
                    self._put(key, item)
            self._seen = int(page["metadata"]["resourceVersion"])
        self._synced.set()
        self.refused = False
        return str(page["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> None:
        """Watch until the next listing is due; raises the error that ends the watch."""
        end = time.monotonic() + _RESYNC_S * random.uniform(0.8, 1.2)
        while time.monotonic() < end and not self._stopping.is_set():
            began = time.monotonic()
            watch = self._cluster.watch(
                self._path,
                _SILENCE_S,
                **self._query,
                resourceVersion=version,
                allowWatchBookmarks="true",
                timeoutSeconds=str(_WATCH_S),
            )
            self._watching = watch
            try:
                for event in watch if not self._stopping.is_set() else ():
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._apply(event)
                    if self._stopping.is_set():
                        return
            except ClusterUnavailable:
                # A quiet namespace is silent between bookmarks; from a dead server the same
                # request fails at once and ends this.
                if not self._stopping.is_set():
                    self._cluster.get(self._path, **self._query, limit="1")
            finally:
                watch.close()
            if time.monotonic() - began < _MIN_WATCH_S:
                self._stopping.wait(_PAUSE_S)

    def _apply(self, event: Object) -> None:
        item, version = event["object"], int(event["object"]["metadata"]["resourceVersion"])
        if event["type"] == "BOOKMARK":
            self._seen = version
            return
        key = _key(item)
        kept = self._keep(item)
        if event["type"] == "DELETED":
            # First what is to be remembered of it: who finds it gone asks for that.
            self._on_deleted(kept)
        with self._turn:
            self._seen = version
            if not self._is_news(key, item):
                pass  # An own answer was quicker, about a change after this one.
            elif event["type"] == "DELETED":
                self._drop(key)
            else:
                self._put(key, kept)

    def _is_news(self, key: Key, item: Object) -> bool:
        known = self._items.get(key)
        return known is None or _version(known) <= _version(item)

    def _put(self, key: Key, item: Object) -> None:
        before = self._items.get(key)
        group = self._group(item)
        if before is not None and self._group(before) != group:
            self._drop(key)
        self._items[key] = item
        if group:
            self._groups.setdefault(group, {})[key] = item
            self._changed.add(group)

    def _drop(self, key: Key) -> None:
        item = self._items.pop(key, None)
        group = self._group(item) if item is not None else ""
        if group:
            self._groups[group].pop(key, None)
            if not self._groups[group]:
                del self._groups[group]
            self._changed.add(group)


def _key(item: Object) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _version(item: Object) -> int:
    """Ordered for one kind of object (since Kubernetes 1.35 by contract, before by practice)."""
    return int(item["metadata"]["resourceVersion"])
