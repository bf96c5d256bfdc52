"""A real node and Barograph installed on it; or both on the cluster that somebody named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.embedded.process import EmbeddedError
from tests.cluster.images import Images
from tests.cluster.kube import Kube
from tests.cluster.node.release import Release
from tests.cluster.node.release_values import quickstart
from tests.cluster.node.worker import RealNode

# Whoever comes first waits for the images to be unpacked and the chart to be installed.
_TIMEOUT_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """More time than other tests have, for those of this directory."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="package")
def node(kube_server: Kube) -> Iterator[RealNode | None]:
    """The real node, gone before other directories' tests; None: the cluster has its own."""
    if kube_server.plane is None:
        yield None
        return
    try:
        made = RealNode(kube_server, kube_server.plane, Images.of_sources().require())
        made.start()
    except EmbeddedError as error:
        pytest.fail(str(error), pytrace=False)
    yield made
    made.stop()


@pytest.fixture(scope="package")
def installation(kube_server: Kube, node: RealNode | None) -> Iterator[Release]:
    ours = node is not None
    release = Release(kube_server, ours, quickstart(images_are_ours=ours))
    yield release
    release.remove()


@pytest.fixture
def release(installation: Release) -> Iterator[Release]:
    """The chart, installed with its quickstart and ready; no job of one test outlives it."""
    installation.ensure_installed()
    yield installation
    if installation.installed:
        installation.end_jobs()
