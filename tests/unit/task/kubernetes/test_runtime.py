"""What the runtime keeps up for a job whose members all run; without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.task.runtimes.kubernetes.capabilities import Capabilities
from services.task.runtimes.kubernetes.runtime import KubernetesRuntime
from shared.cluster import Object
from tests.unit.task.kubernetes.objects import TEMPLATE, pod, submit


class Recorded:
    """An API server that takes everything and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def patch(self, path: str, _body: Any) -> dict[str, Any]:
        self.asked.append(("patch", path))
        return {}

    def delete(self, path: str, **_options: Any) -> dict[str, Any]:
        self.asked.append(("delete", path))
        return {}

    def close(self) -> None:
        """Nothing is open."""


class Seen:
    """A cluster with these Jobs."""

    def __init__(self, *jobs: Object, pods: Sequence[Object] = ()) -> None:
        self._jobs, self._pods = list(jobs), list(pods)

    capabilities = Capabilities("v1.34.4", kueue=False, claims=False)

    def known(self) -> set[str]:
        return set()

    def jobs(self, _job_id: str) -> list[Object]:
        return self._jobs

    def all_pods(self) -> list[Object]:
        return self._pods

    def forget(self, _job_id: str) -> None:
        """Nothing is remembered."""

    def stop(self) -> None:
        """Nothing runs."""


def made(cluster: Recorded, *jobs: Object, pods: Sequence[Object] = ()) -> KubernetesRuntime:
    view: Any = Seen(*jobs, pods=pods)
    server: Any = cluster
    return KubernetesRuntime(server, TEMPLATE, view, lambda _submit: "{}", gang_s=1.0)


def test_access_of_a_job_that_was_there_before_is_renewed_once_and_of_one_to_come_not() -> None:
    cluster = Recorded()
    running = made(cluster, {"metadata": {"name": "j-worker"}})
    running.start(submit(), ())
    running._renew()
    running._renew()
    running.close()
    ((verb, path),) = cluster.asked
    assert verb == "patch"
    assert "/secrets/" in path

    cluster.asked.clear()
    coming = made(cluster)
    coming.start(submit(), ())
    coming._renew()
    coming.close()
    assert cluster.asked == []


def test_a_job_with_the_id_of_one_that_was_swept_leaves_no_secret_either() -> None:
    cluster = Recorded()
    runtime = made(cluster)
    job = submit()
    runtime._remove_rest(job.job_id)  # a sweep that nobody asked again about
    runtime.start(job, ())
    assert not runtime.remove(job.job_id)
    runtime._pool.shutdown()
    assert runtime.remove(job.job_id)
    assert [verb for verb, _ in cluster.asked] == ["delete", "delete"]


def test_a_pod_its_node_does_not_take_away_is_removed_whether_it_had_ended_or_not() -> None:
    cluster, now = Recorded(), datetime.now(UTC)
    long_ago, just_now = ((now - timedelta(seconds=s)).isoformat() for s in (60, 1))
    runtime = made(
        cluster,
        pods=[
            pod("worker-0", node="n", phase="Running", deleted=long_ago),
            pod("worker-1", node="n", phase="Failed", deleted=long_ago),
            pod("worker-2", node="n", phase="Failed", deleted=just_now),
            pod("worker-3", node="n", phase="Running"),
        ],
    )
    runtime._bury()
    runtime.close()
    asked = {(verb, path.partition("/pods/")[2]) for verb, path in cluster.asked}
    assert asked == {
        ("patch", "j-worker-0/status"),
        ("delete", "j-worker-0"),
        ("delete", "j-worker-1"),
    }
