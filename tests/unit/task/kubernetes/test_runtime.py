"""Tests of what the runtime keeps up for a job whose members all run; without a cluster."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.task.runtimes.kubernetes import names
from services.task.runtimes.kubernetes.acts import Acts, Lane
from services.task.runtimes.kubernetes.capabilities import Capabilities
from services.task.runtimes.kubernetes.pod_upkeep import PodUpkeep
from services.task.runtimes.kubernetes.runtime import KubernetesRuntime
from services.task.runtimes.kubernetes.view import View
from shared.cluster import ClusterUnavailable, Object
from shared.contracts import JobSubmit, Member, Role
from tests.unit.task.kubernetes.objects import TEMPLATE, cluster, ended, pod, submit
from tests.waiting import eventually


class Recorded:
    """An API server that takes everything and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def create(self, path: str, body: Any) -> dict[str, Any]:
        self.asked.append(("create", path))
        return {"metadata": {"name": body["metadata"]["name"], "uid": f"uid-{path}"}}

    def patch(self, path: str, _body: Any) -> dict[str, Any]:
        self.asked.append(("patch", path))
        return {}

    def delete(self, path: str, **_options: Any) -> dict[str, Any]:
        self.asked.append(("delete", path))
        return {}

    def close(self) -> None:
        """Nothing is open."""


class Slow(Recorded):
    """One that takes its time over requests of one kind."""

    def __init__(self, verb: str) -> None:
        super().__init__()
        self._verb = verb
        self.go_on, self.created = threading.Event(), threading.Event()

    def create(self, path: str, body: Any) -> dict[str, Any]:
        self._wait("create")
        made = super().create(path, body)
        if path.endswith("/jobs"):
            self.created.set()
        return made

    def delete(self, path: str, **options: Any) -> dict[str, Any]:
        self._wait("delete")
        return super().delete(path, **options)

    def _wait(self, verb: str) -> None:
        if verb == self._verb:
            self.go_on.wait()


class Seen:
    """A cluster with these Jobs."""

    def __init__(self, *jobs: Object, pods: Sequence[Object] = ()) -> None:
        self._jobs, self._pods = list(jobs), list(pods)

    capabilities = Capabilities("v1.34.4", kueue="", claims=False)

    def known(self) -> set[str]:
        return set()

    def jobs(self, _job_id: str) -> list[Object]:
        return self._jobs

    def job(self, namespace: str, name: str) -> Object | None:
        wanted = (namespace, name)
        places = ((job["metadata"].get("namespace"), job["metadata"]["name"]) for job in self._jobs)
        return dict(zip(places, self._jobs, strict=True)).get(wanted)

    def settle(self, _job_id: str, _namespace: str) -> None:
        """All of them are."""

    def learn(self, job: Object) -> None:
        self._jobs.append(job)

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


WORKER = [Member(role=Role.WORKER, index=0, incarnation=1)]
MANY = 50


def members(job: JobSubmit) -> list[Member]:
    """The first incarnation of each member."""
    return [
        Member(role=role, index=index, incarnation=1)
        for role, count in job.roles().items()
        for index in range(count)
    ]


def named(name: str, namespace: str = TEMPLATE.namespace) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}, "spec": {}}


def test_a_job_of_a_project_has_its_objects_in_the_projects_namespace_and_none_elsewhere() -> None:
    cluster = Recorded()
    template = replace(TEMPLATE, project_namespaces={"vision": "team-vision"})
    view: Any = Seen()
    server: Any = cluster
    runtime = KubernetesRuntime(server, template, view, lambda _submit: "{}", gang_s=1.0)
    of_vision, of_nobody = submit(job_id="a", project="vision"), submit(job_id="b")
    runtime.start(of_vision, WORKER)
    runtime.start(of_nobody, WORKER)
    runtime._acts.close()
    places = {(verb, path.split("/namespaces/")[1].split("/")[0]) for verb, path in cluster.asked}
    assert places == {("create", "team-vision"), ("create", TEMPLATE.namespace)}
    made = {path.rpartition("/namespaces/")[2] for _, path in cluster.asked}
    assert made == {
        f"{namespace}/{kind}"
        for namespace in ("team-vision", TEMPLATE.namespace)
        for kind in ("secrets", "jobs")
    }


def test_what_all_groups_of_a_job_share_is_asked_for_once() -> None:
    api = Recorded()
    runtime = made(api)
    elastic = cluster(elastic=True)
    runtime.start(elastic, members(elastic))
    runtime._acts.close()
    kinds = Counter(path.rpartition("/")[2] for _, path in api.asked)
    assert kinds == {"secrets": 1, "services": 1, "jobs": len(names.groups(elastic, queued=False))}
    assert kinds["jobs"] > 1


def test_what_is_left_of_a_removed_job_is_looked_for_wherever_jobs_may_run() -> None:
    cluster = Recorded()
    template = replace(TEMPLATE, project_namespaces={"vision": "team-vision"})
    view: Any = Seen(named("j", "team-vision"))
    server: Any = cluster
    runtime = KubernetesRuntime(server, template, view, lambda _submit: "{}", gang_s=1.0)
    runtime.remove("from-before-a-restart")
    runtime._acts.close()
    deleted = {path.split("/namespaces/")[1] for verb, path in cluster.asked if verb == "delete"}
    secret = names.base_name("from-before-a-restart")
    assert deleted == {
        "team-vision/jobs/j",
        f"team-vision/secrets/{secret}",
        f"{TEMPLATE.namespace}/secrets/{secret}",
    }


def test_a_launch_does_not_wait_for_the_deletions_before_it() -> None:
    cluster = Slow("delete")
    runtime = made(cluster, *(named(f"old-{number}") for number in range(MANY)))
    runtime.end("old", (), 0.0)
    runtime.start(submit(), WORKER)
    launched = cluster.created.wait(600)
    cluster.go_on.set()
    runtime.close()
    assert launched
    assert [verb for verb, _ in cluster.asked].count("delete") == MANY


def test_a_job_that_has_its_jobs_asks_for_nothing_however_often_it_is_started() -> None:
    cluster = Recorded()
    runtime = made(cluster, named(f"{names.base_name(submit().job_id)}-worker"))
    runtime.start(submit(), WORKER)
    runtime.start(submit(), WORKER)
    runtime.close()
    assert cluster.asked == []


def test_a_job_that_ends_before_its_turn_is_not_made() -> None:
    cluster = Slow("create")
    runtime = made(cluster)
    jobs = [submit(job_id=f"j{number}") for number in range(MANY)]
    for job in jobs:
        runtime.start(job, WORKER)
    assert not any(runtime.remove(job.job_id) for job in jobs)
    cluster.go_on.set()
    runtime._acts.close()
    secrets = [path for verb, path in cluster.asked if verb == "create" and "/secrets" in path]
    assert len(secrets) <= Lane.LAUNCH.threads
    assert not any(verb == "delete" for verb, _ in cluster.asked), "a start was under way still"


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
    runtime._acts.close()
    assert runtime.remove(job.job_id)
    assert [verb for verb, _ in cluster.asked] == ["delete", "delete"]


def test_a_pod_its_node_does_not_take_away_is_removed_whether_it_had_ended_or_not() -> None:
    # The server's clock is hours away from ours: what counts is how long we have seen it leave.
    cluster, at, leaving = Recorded(), [1000.0], {"deleted": "2020-01-01T00:00:00Z", "grace_s": 60}
    there = [
        pod("worker-0", node="n", phase="Running", **leaving),
        pod("worker-1", node="n", phase="Failed", **leaving),
        pod("worker-3", node="n", phase="Running"),
    ]
    view: Any = Seen(pods=there)
    server: Any = cluster
    acts = Acts()
    upkeep = PodUpkeep(server, view, acts, lambda: at[0])
    upkeep.bury()
    at[0] += 60
    view.all_pods().append(pod("worker-2", node="n", phase="Failed", **leaving))
    upkeep.bury()
    assert cluster.asked == [], "their graces are not over"
    at[0] += 16
    upkeep.bury()
    acts.close()
    asked = {(verb, path.partition("/pods/")[2]) for verb, path in cluster.asked}
    assert asked == {
        ("patch", "j-worker-0/status"),
        ("delete", "j-worker-0"),
        ("delete", "j-worker-1"),
    }


def test_access_that_could_not_be_renewed_is_renewed_at_the_next_look() -> None:
    class Failing(Recorded):
        def patch(self, path: str, body: Any) -> dict[str, Any]:
            super().patch(path, body)
            if len(self.asked) == 1:
                raise ClusterUnavailable("away")
            return {}

    cluster = Failing()
    runtime = made(cluster, {"metadata": {"name": "j-worker"}})
    runtime.start(submit(), ())
    for asked in (1, 2, 2):
        runtime._renew()
        eventually(lambda: not runtime._acts.under_way("renew mnist.1"), "the act's end")
        assert len(cluster.asked) == asked
    runtime.close()


class Pages:
    """An API server with these pods and Jobs."""

    def __init__(self, **items: list[Object]) -> None:
        self.items = items

    def get(self, path: str, **_query: str) -> Object:
        *_, namespace, kind = path.split("/")
        found = [
            each
            for each in self.items.get(kind, [])
            if each["metadata"].get("namespace", namespace) == namespace
        ]
        return {"metadata": {"resourceVersion": "9"}, "items": found}


def seen_by(server: Pages, *namespaces: str) -> View:
    cluster: Any = server
    view = View(cluster, namespaces, "barograph", Capabilities("v1.34.4", kueue="", claims=False))
    for mirror in [*view._pods._of.values(), *view._jobs._of.values()]:
        mirror._list()
    return view


def test_pods_that_somebody_made_in_another_namespace_do_not_speak_for_a_job() -> None:
    forged = pod("worker-0", namespace="team-a", **ended(1))
    view = seen_by(Pages(pods=[pod("worker-0", phase="Running"), forged]), "jobs", "team-a")
    view.settle("j", "jobs")
    (found,) = view.observed(["j"])
    assert found.alive
    view._pods._of["team-a"]._apply({"type": "DELETED", "object": forged})
    (found,) = view.observed(["j"])
    assert found.alive
    view.forget("j")
    assert len(view.pods("j")) == 1


def test_one_pod_that_nobody_can_read_hides_no_other() -> None:
    odd = pod("worker-1", annotations={names.INDEX: "x"}, cpu="100n")
    view = seen_by(Pages(pods=[pod("worker-0", phase="Running", node="n"), odd]), "jobs")
    assert [each.member.name for each in view.observed(["j"])] == ["worker-0"]
    mirror = view._pods._of["jobs"]
    server: Any = mirror._cluster
    server.items = {"pods": []}
    mirror._list()
    assert view.pods("j") == []
    assert [each.alive for each in view.observed(["j"])] == [False]
