"""Tests of what the cluster tests count by: nothing that was there may go unseen."""

from __future__ import annotations

from tests.cluster.kube import Kube
from tests.cluster.watched import Created
from tests.waiting import eventually

_JOB = {
    "metadata": {"name": "seen", "annotations": {"barograph.io/job-id": "late"}},
    "spec": {
        "suspend": True,
        "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}
        },
    },
}


def test_what_comes_and_goes_after_the_server_has_ended_a_watch_is_seen(
    kube: Kube, namespace: str
) -> None:
    watch = Created(kube, namespace, life_s=1)
    watch.start()
    try:
        eventually(lambda: watch.resumed > 1, "a watch that was ended twice", 30)
        kube.batch.create_namespaced_job(namespace, _JOB)
        eventually(lambda: "late" in watch.seen, "the Job", 30)
        kube.batch.delete_namespaced_job("seen", namespace, propagation_policy="Background")
        eventually(lambda: "late" in watch.gone, "its end", 30)
    finally:
        watch.stop()
