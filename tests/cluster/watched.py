"""What was ever there: objects by uid and events of jobs, each with the time it was seen."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import SecretStr

from shared.cluster import Cluster, ClusterUnavailable, Object
from shared.cluster.cluster import Watch
from shared.contracts import JobEvent, Message
from shared.service import Context, Service
from shared.settings import ServiceSettings
from shared.topology import Principal, subscriptions
from tests.brokers import BrokerUnderTest
from tests.cluster.kube import Kube

_SILENCE_S = 3600.0


class Created:
    """Every object of one kind the namespace has ever had, by job and uid.

    Args:
        kube: the cluster.
        path: below the namespace's URL, e.g. ``/apis/batch/v1/namespaces/{}/jobs``.
        namespace: an empty one: watching begins with ``start``.
        life_s: after how long the server ends a watch; it is resumed.
    """

    JOBS = "/apis/batch/v1/namespaces/{}/jobs"
    PODS = "/api/v1/namespaces/{}/pods"

    def __init__(
        self, kube: Kube, namespace: str, path: str = JOBS, *, life_s: float = _SILENCE_S
    ) -> None:
        self._life_s = life_s
        self._cluster = Cluster(kube.kubeconfig)
        self._path = path.format(namespace)
        self.seen: dict[str, dict[str, float]] = defaultdict(dict)
        """Job id to the uids of its objects, and when each was first seen."""
        self.gone: dict[str, float] = {}
        """Job id to when its last object went."""
        self.stuck: dict[str, float] = {}
        """Job id to when one of its pods was first seen to find no node."""
        self.resumed = 0
        """How often the server ended the watch; it went on where it had ended."""
        self._version = ""
        self._watch: Watch | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._follow, name="created", daemon=True)

    def start(self) -> None:
        self._version = self._cluster.get(self._path, limit="1")["metadata"]["resourceVersion"]
        self._watch = self._open()
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
            self._thread.join()
            self._watch.close()
        self._cluster.close()

    def doubled(self) -> dict[str, int]:
        """Jobs with more than one object, and how many each had."""
        return {job_id: len(uids) for job_id, uids in self.seen.items() if len(uids) > 1}

    def _open(self) -> Watch:
        return self._cluster.watch(
            self._path,
            _SILENCE_S,
            resourceVersion=self._version,
            allowWatchBookmarks="true",
            timeoutSeconds=str(int(self._life_s)),
        )

    def _follow(self) -> None:
        """Until stopped. The server ends a watch whose reader is too slow, without a word."""
        assert self._watch is not None
        while not self._stopping:
            try:
                for event in self._watch:
                    self._version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._note(event, time.monotonic())
            except ClusterUnavailable:
                if not self._stopping:
                    raise
            if not self._stopping:
                self.resumed += 1
                self._watch.close()
                self._watch = self._open()

    def _note(self, event: Object, now: float) -> None:
        item = event["object"]
        job_id = (item["metadata"].get("annotations") or {}).get("barograph.io/job-id", "")
        self.seen[job_id].setdefault(item["metadata"]["uid"], now)
        if event["type"] == "DELETED":
            self.gone[job_id] = now
        conditions = item.get("status", {}).get("conditions") or []
        if any(c.get("reason") == "Unschedulable" for c in conditions):
            self.stuck.setdefault(job_id, now)


class JobEvents:
    """A client that remembers every event of every job."""

    def __init__(self, broker: BrokerUnderTest) -> None:
        self._turn = threading.Lock()
        self.at: dict[str, dict[str, float]] = defaultdict(dict)
        """Job id to the kinds of its events, and when each came first."""
        self.ends: dict[str, Counter[int]] = defaultdict(Counter)
        """Job id to the sequence numbers of its terminal events."""
        self.all: list[JobEvent] = []
        self._service = Service(
            "client",
            ServiceSettings(broker_url=SecretStr(broker.url("client"))),
            handlers=self._listeners(),
        )

    def start(self) -> None:
        self._service.start()
        self._service.bus.wait_ready(60)

    def stop(self) -> None:
        self._service.stop()

    def publish(self, messages: Iterable[Message]) -> None:
        self._service.publisher.publish(list(messages), timeout_s=120)

    def having(self, kind: str) -> list[str]:
        """Jobs that have had such an event, e.g. ``job.running``."""
        with self._turn:
            return [job_id for job_id, kinds in self.at.items() if kind in kinds]

    def ended(self) -> list[str]:
        with self._turn:
            return list(self.ends)

    def _note(self, event: JobEvent, _ctx: Context) -> Iterable[Message]:
        now = time.monotonic()
        with self._turn:
            self.at[event.job_id].setdefault(event.TYPE, now)
            if event.state.terminal and event.TYPE != "job.removed":
                self.ends[event.job_id][event.sequence] += 1
            self.all.append(event)
        return ()

    def _listeners(self) -> dict[type[Message], Callable[[Any, Context], Iterable[Message]]]:
        def ignore(_message: Any, _ctx: Context) -> Iterable[Message]:
            return ()

        return {
            route.message: self._note if issubclass(route.message, JobEvent) else ignore
            for routes in subscriptions(Principal.CLIENT).values()
            for route in routes
        }
