"""What is refused before it is accepted: the installation's rules, and the API server's word."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from services.task.runtimes.kubernetes.allowed import Allowed
from services.task.runtimes.kubernetes.planner import KubernetesPlanner
from services.task.runtimes.kubernetes.room import Free
from services.task.validation import Quotas
from shared.cluster import ClusterError, ClusterUnavailable, Invalid, Object
from shared.cluster.errors import Forbidden, error_of
from shared.contracts import JobSubmit
from tests.unit.task.kubernetes.objects import TEMPLATE, cluster, node, submit

QUOTAS = Quotas(cpu=64, memory=2**40, gpu=8, members=8, bucket="bucket")


class Server:
    """Answers dry runs; ``answers`` are errors by kind of object."""

    def __init__(self, **answers: ClusterError) -> None:
        self.answers, self.asked = answers, [""][:0]

    def create(self, path: str, body: Object, *, timeout_s: float, **query: str) -> Object:
        assert query == {"dryRun": "All"}
        assert 0 < timeout_s < 10
        assert path.startswith(("/api/v1/namespaces/jobs/", "/apis/batch/v1/namespaces/jobs/"))
        self.asked.append(body["kind"])
        if error := self.answers.get(body["kind"]):
            raise error
        return body


def planner(server: Server, now: list[float] | None = None, **allowed: Any) -> KubernetesPlanner:
    seen: Any = SimpleNamespace(
        nodes=list, capabilities=SimpleNamespace(kueue="", claims=True, version="1.34")
    )
    asked: Any = server
    moment = now or [0.0]
    return KubernetesPlanner(
        asked, TEMPLATE, seen, QUOTAS, Allowed(**allowed), now=lambda: moment[0]
    )


def good(**fields: Any) -> JobSubmit:
    return submit(package="bucket:packages:a.tar.gz", main="m.py", **fields)


def test_the_api_server_is_asked_about_objects_and_pods_before_a_job_is_accepted() -> None:
    server = Server()
    assert planner(server).refusals(good()) == ()
    assert server.asked == ["Secret", "Job", "Pod"]


def test_every_field_that_the_api_server_refuses_is_named_once() -> None:
    causes = (("spec.a", "no"), ("spec.b", "neither"))
    server = Server(Job=Invalid("Jobs", 422, causes))
    job = cluster(package="bucket:packages:a.tar.gz")
    found = planner(server).refusals(job)
    assert [(f.field, f.problem) for f in found] == [
        ("Job.spec.a", "no"),
        ("Job.spec.b", "neither"),
    ]


def test_nobody_is_asked_about_a_job_that_is_refused_anyway() -> None:
    server = Server()
    found = planner(server).refusals(good(image="evil/x", service_account={"name": "admin"}))
    assert [f.field for f in found] == ["image", "service_account.name"]
    assert server.asked == []


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes', True),
        ('pods "x" is forbidden: error looking up service account jobs/a: not found', True),
        ('pods "x" is forbidden: exceeded quota: jobs, requested: cpu=1, used: cpu=8', False),
        ('pods is forbidden: User "task" cannot create resource "pods" in API group ""', False),
    ],
)
def test_a_pod_that_could_never_be_made_is_refused_and_a_full_quota_waited_for(
    text: str, refused: bool
) -> None:
    found = planner(Server(Pod=Forbidden(text, 403))).refusals(good())
    assert [f.field for f in found] == (["Pod"] if refused else [])


@pytest.mark.parametrize("status", [401, 408, 409])
def test_what_passes_by_itself_refuses_no_job(status: int) -> None:
    refused = error_of("POST /secrets", status, {"message": "not now"})
    assert planner(Server(Secret=refused, Job=refused, Pod=refused)).refusals(good()) == ()


def test_a_silent_api_server_holds_up_one_submit_and_is_left_alone_for_a_while() -> None:
    server, now = Server(Secret=ClusterUnavailable("away")), [100.0]
    desk = planner(server, now)
    assert desk.refusals(good()) == ()
    assert desk.refusals(good()) == ()
    assert server.asked == ["Secret"]
    assert desk.refusals(good(image="evil/x"))
    now[0] += 31
    server.answers.clear()
    assert desk.refusals(good()) == ()
    assert server.asked == ["Secret", "Secret", "Job", "Pod"]


def test_whether_claimed_devices_are_free_is_not_known_but_a_lack_of_cores_is() -> None:
    nodes = [node(cpu="8")]
    seen: Any = SimpleNamespace(
        nodes=lambda: nodes,
        free=lambda: Free.of(nodes, ()),
        capabilities=SimpleNamespace(kueue="", claims=True, version="1.34"),
    )
    asks: Any = Server()
    plans = KubernetesPlanner(asks, TEMPLATE, seen, QUOTAS, Allowed())
    claimed = {"gpu": 2, "device_class": "gpu.nvidia.com"}
    answers = [
        plans.plan(good(resources={"cpu": cores, "memory": "1Gi"} | asked), server=False)
        for cores, asked in ((1, {}), (1, claimed), (9, claimed))
    ]
    assert [each.fits_now for each in answers] == [True, None, False]
    assert ["only the scheduler knows" in " ".join(each.notes) for each in answers] == [
        False,
        True,
        True,
    ]
