"""Quantities, requests that can never fit, and packing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.task.runtimes.kubernetes import manifests, pods
from services.task.runtimes.kubernetes.room import Free, Need, faults, quantity
from shared.cluster import Object
from shared.contracts import JobSubmit
from tests.unit.task.kubernetes.objects import TEMPLATE, cluster, node, pod, submit


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2),
        ("250m", 0.25),
        ("1k", 1e3),
        ("1Ki", 1024),
        ("1.5Gi", 1.5 * 2**30),
        ("2M", 2e6),
        ("1Ti", 2**40),
        ("1e3", 1000),
        ("1E", 1e18),
        ("0", 0),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


def _told(nodes: list[Object], **resources: object) -> dict[str, str]:
    found = faults(submit(resources={"cpu": 1, "memory": "1Gi"} | resources), nodes, TEMPLATE)
    return {fault.field: fault.problem for fault in found}


def test_a_request_that_fits_an_empty_node_is_not_refused() -> None:
    assert not _told([node("small", cpu="1"), node("large")])


def test_the_launcher_counts_and_the_largest_node_is_named() -> None:
    told = _told([node("small", cpu="1"), node("large")], cpu=4)
    assert told == {
        "resources.cpu": "4.05 cpu are needed, the launcher's included;"
        " the largest node has 4 (large)"
    }


def test_every_resource_that_is_too_large_is_named() -> None:
    told = _told([node()], cpu=100, memory="100Gi", gpu=1)
    assert set(told) == {"resources.cpu", "resources.memory", "resources.gpu"}
    assert told["resources.gpu"] == "1 nvidia.com/gpu are requested; no node has any"
    assert "102496Mi memory are needed" in told["resources.memory"]


def test_resources_no_single_node_has_together_are_told() -> None:
    nodes = [node("a", cpu="64", memory="1Gi"), node("b", cpu="1", memory="64Gi")]
    told = _told(nodes, cpu=8, memory="8Gi")
    assert told == {"resources.cpu": "no single node has all of: 8.05 cpu, 8288Mi memory"}


def test_a_gpu_model_no_node_has_is_told() -> None:
    told = _told([node(gpu="8")], gpu=1, gpu_model="H100")
    assert told == {"resources.gpu_model": "no node is labelled nvidia.com/gpu.product=H100"}


def test_a_roles_own_resources_are_named_by_the_role() -> None:
    job = cluster(role_resources={"ps": {"cpu": 100, "memory": "1Gi"}})
    assert [f.field for f in faults(job, [node()], TEMPLATE)] == ["role_resources.ps.cpu"]


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "pool", "values": ["n", "m"]}, True),
        ({"key": "pool", "values": ["x"]}, False),
        ({"key": "pool", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "none", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "none", "operator": "Exists"}, False),
        ({"key": "pool", "operator": "DoesNotExist"}, False),
        ({"key": "cores", "operator": "Gt", "values": ["7"]}, True),
        ({"key": "cores", "operator": "Lt", "values": ["8"]}, False),
        ({"key": "pool", "operator": "Gt", "values": ["1"]}, False),
        ({"key": "none", "operator": "Lt", "values": ["1"]}, False),
    ],
)
def test_a_job_whose_affinity_no_node_fits_is_refused_and_never_packed(
    expression: dict[str, object], fits: bool
) -> None:
    there = node()
    there["metadata"]["labels"]["cores"] = "8"
    there["status"]["allocatable"]["ephemeral-storage"] = "100Gi"
    never = {"expressions": [{"key": "absent", "operator": "Exists"}]}
    terms = [never, {"expressions": [expression]}]
    job = submit(role_scheduling={"worker": {"node_terms": terms}})
    found = faults(job, [there], TEMPLATE)
    assert [f.field for f in found] == ([] if fits else ["role_scheduling.worker"])
    made = pods.keep(_made(job))
    assert Free.of([there], []).pack([Need.of_pod(made)]) is fits


def _made(job: JobSubmit) -> Object:
    spec = manifests.job(TEMPLATE, job, "worker", 1, base=0, owner_uid="")["spec"]["template"]
    told = {"namespace": "jobs", "name": "p", "uid": "u", "resourceVersion": "1"}
    return {"metadata": {**told, "creationTimestamp": ""}, "spec": spec["spec"]}


def test_sidecars_and_disk_count_when_room_is_looked_for() -> None:
    side = {"name": "side", "kind": "sidecar", "cpu": 3}
    there = node("n", cpu="4")
    there["status"]["allocatable"]["ephemeral-storage"] = "10Gi"
    asked = submit(containers=[side], resources={"cpu": 1, "storage": "20Gi"})
    told = {f.field: f.problem for f in faults(asked, [there], TEMPLATE)}
    assert told["resources.cpu"].startswith("4.05 cpu are needed")
    assert told["resources.storage"].startswith("20480Mi ephemeral-storage are needed")


def test_where_no_node_can_be_seen_nothing_is_refused() -> None:
    assert not _told([], cpu=1000)


needs = st.lists(
    st.builds(
        lambda cpu, pool: Need({"cpu": cpu / 4}, {"pool": pool} if pool else {}),
        st.integers(1, 20),
        st.sampled_from(["", "a", "b"]),
    ),
    max_size=8,
)
nodes = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 8)), min_size=1, max_size=4)


@given(nodes, st.lists(needs, max_size=4))
def test_packing_takes_room_for_all_or_for_none_and_never_more_than_there_is(
    sizes: list[tuple[str, int]], gangs: list[list[Need]]
) -> None:
    free = Free.of([node(f"{p}{i}", cpu=str(c)) for i, (p, c) in enumerate(sizes)], [])
    for gang in gangs:
        before = {name: dict(room) for name, room in free.rooms.items()}
        fits = free.pack(gang)
        taken = sum(before[n]["cpu"] - free.rooms[n]["cpu"] for n in before)
        places = sum(before[n]["pods"] - free.rooms[n]["pods"] for n in before)
        assert all(room["cpu"] >= -1e-6 for room in free.rooms.values())
        if fits:
            assert taken == pytest.approx(sum(need.amounts["cpu"] for need in gang))
            assert places == len(gang)
        else:
            assert free.rooms == before


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_a_gang_of_one_size_a_node_always_fits(sizes: list[int]) -> None:
    free = Free.of([node(f"a{i}", cpu=str(cpu)) for i, cpu in enumerate(sizes)], [])
    assert free.pack([Need({"cpu": float(cpu)}, {}) for cpu in sizes])
    assert not free.pack([Need({"cpu": 0.5}, {})])


def test_our_own_pods_take_room_and_nodes_that_are_away_have_none() -> None:
    used = [("a0", Need.of_pod(pod(cpu="3")))]
    free = Free.of([node("a0"), node("b0", ready=False)], used)
    assert not free.pack([Need({"cpu": 2.0}, {})])
    assert free.pack([Need({"cpu": 1.0}, {})])


def test_a_full_node_takes_no_pod_however_small() -> None:
    free = Free.of([node(pods="1")], [("n0", Need.of_pod(pod(cpu="0")))])
    assert not free.pack([Need({}, {})])


def test_a_pods_need_is_that_of_all_its_containers() -> None:
    asked = pod(cpu="1500m")
    asked["spec"]["requests"].append({"cpu": "500m", "memory": "1Gi"})
    assert Need.of_pod(asked).amounts == {"cpu": 2.0, "memory": 2.0**30}
