"""A Kubernetes cluster for the tests here: our own, or the one BAROGRAPH_TEST_KUBECONFIG names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.embedded.process import EmbeddedError
from tests.brokers import BrokerUnderTest
from tests.cluster.jobs import ClusterJobs, running_jobs
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.cluster.plane import ControlPlane
from tests.cluster.programs import private_network
from tests.conftest import ObjectStoreUnderTest

EXTERNAL_CLUSTER = "BAROGRAPH_TEST_KUBECONFIG"


@pytest.fixture(scope="session")
def kube_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """A cluster; where none can be had the tests fail and say why, they do not skip."""
    state = tmp_path_factory.mktemp("cluster")
    external = os.environ.get(EXTERNAL_CLUSTER)
    if external:
        yield Kube(Path(external).resolve(), state)
        return
    try:
        plane = ControlPlane(state, private_network())
        plane.start()
    except EmbeddedError as error:
        pytest.fail(str(error), pytrace=False)
    yield Kube(plane.kubeconfig, state, plane)
    plane.stop()


@pytest.fixture
def kube(kube_server: Kube) -> Iterator[Kube]:
    """The cluster; namespaces the test has made are removed after it."""
    yield kube_server
    kube_server.remove_namespaces(list(kube_server.namespaces))


@pytest.fixture
def namespace(kube: Kube) -> str:
    """An empty namespace for one test."""
    return kube.new_namespace()


@pytest.fixture(scope="session")
def kwok_controller(kube_server: Kube) -> Iterator[FakeNodes]:
    controller = FakeNodes(kube_server)
    try:
        controller.start()
    except EmbeddedError as error:
        pytest.fail(str(error), pytrace=False)
    yield controller
    controller.stop()


@pytest.fixture
def kwok_nodes(kwok_controller: FakeNodes, kube: Kube) -> Iterator[FakeNodes]:
    """``kwok_nodes(3, cpu="8", memory="32Gi", gpu=2)`` adds fake nodes for one test."""
    yield kwok_controller
    kwok_controller.remove_all()


@pytest.fixture
def platform(
    kube: Kube,
    namespace: str,
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ClusterJobs]:
    """The job half of the platform, whose members are pods of the test's namespace."""
    directory = tmp_path_factory.mktemp("jobs")
    with running_jobs(kube, namespace, broker, object_store, directory) as running:
        yield running
