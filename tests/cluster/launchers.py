"""Stand-ins for the launchers of pods on fake nodes, where nothing of a pod really runs.

They say over the real broker what launchers say: where they listen, and that their program runs
with the newest ClusterSpec. How a pod ends is for the test to say.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pika

from services.task.runtimes.kubernetes import pods
from shared.cluster import Cluster, Mirror, Object
from shared.contracts import Member, Message, PodReported, PodStarted
from shared.messaging import Bus, MessagingError
from tests.brokers import BrokerUnderTest
from tests.cluster.kube import Kube

_POLL_S = 0.1
_PUBLISH_S = 30.0


def _keep(pod: Object) -> Object:
    """What the task service keeps, and the name by which an elastic job's pod is reached."""
    spec = pod["spec"]
    name = f"{spec['hostname']}.{spec['subdomain']}" if spec.get("subdomain") else ""
    return pods.keep(pod) | {"name": name}


class FakeLaunchers:
    """Speaks for every running pod of a namespace until it is stopped."""

    def __init__(self, kube: Kube, namespace: str, broker: BrokerUnderTest) -> None:
        path = f"/api/v1/namespaces/{namespace}/pods"
        self._cluster = Cluster(kube.kubeconfig)
        self._pods = Mirror(self._cluster, path, keep=_keep)
        self._bus = Bus(broker.url("member"), "member", "fakes", word="fakes")
        self._link = pika.BlockingConnection(pika.URLParameters(broker.url()))
        self._channel = self._link.channel()
        self._queue: str = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(self._queue, "from.autospec", "clusterspec.ready.#")
        self._specs: dict[str, dict[str, Any]] = {}
        self._reported: set[str] = set()
        self._started: dict[str, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake launchers")

    def start(self) -> None:
        self._pods.start()
        self._bus.start(consume=False)
        self._bus.wait_ready(30)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._pods.stop()
        self._cluster.close()
        self._bus.stop(5)
        self._link.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Also what keeps the connection alive.
            self._link.sleep(_POLL_S)
            while (body := self._channel.basic_get(self._queue, auto_ack=True)[2]) is not None:
                spec = json.loads(body)
                newest = self._specs.get(spec["job_id"], spec)
                self._specs[spec["job_id"]] = max(spec, newest, key=lambda s: int(s["epoch"]))
            told = [message for pod in self._pods.items() for message in self._speak(pod)]
            if told:
                try:
                    self._bus.publish(told, timeout_s=_PUBLISH_S)
                except MessagingError:
                    # The broker is away: said again.
                    self._reported.clear()
                    self._started.clear()

    def _speak(self, pod: Object) -> list[Message]:
        member, uid = pods.member(pod), pod["metadata"]["uid"]
        running = pod["status"].get("phase") == "Running" and "podIP" in pod["status"]
        if member is None or not running or pod["metadata"]["deletionTimestamp"]:
            return []
        job_id = pods.job_id(pod)
        if pod["metadata"]["annotations"].get("barograph.io/roles") == "worker=1":
            return self._begin(uid, job_id, member, 0)
        if uid not in self._reported:
            self._reported.add(uid)
            host, port = pod["name"] or pod["status"]["podIP"], 2222
            now = datetime.now(UTC)
            return [PodReported(job_id=job_id, member=member, host=host, port=port, at=now)]
        spec = self._specs.get(job_id)
        mine = {"role": member.role, "index": member.index, "incarnation": member.incarnation}
        if spec is not None and mine in spec["members"]:
            return self._begin(uid, job_id, member, int(spec["epoch"]))
        return []

    def _begin(self, uid: str, job_id: str, member: Member, epoch: int) -> list[Message]:
        if self._started.get(uid, -1) >= epoch:
            return []
        self._started[uid] = epoch
        return [PodStarted(job_id=job_id, member=member, epoch=epoch, at=datetime.now(UTC))]
