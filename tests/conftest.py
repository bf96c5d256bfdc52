"""Fixtures with real servers: started once per test process, on loopback, stopped with it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, settings

from shared.embedded import process
from shared.embedded.object_store import EmbeddedObjectStore
from shared.embedded.process import EmbeddedError, past_proxies
from shared.embedded.stack import Stack
from shared.loading import keep_what_is_loaded
from shared.store import store
from shared.topology import outlet_queues
from tests.brokers import BrokerUnderTest, ContainerBroker, ExternalBroker, PrivateBroker
from tests.collector import Collector, collecting
from tests.made_once import log_plainly, migration_by_copy, share_trust
from tests.order import InOrder, is_on_the_stack, own_part, rank
from tests.session_folders import SessionFolder, place_of_sessions
from tests.signal_masks import hear_the_keyboard

# No test fails because the machine is busy: neither an example's time nor that of making it up is
# limited. A submission is judged by the same examples each time; new ones are tried everywhere
# else, and by `make fuzz`.
_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("untimed", _UNTIMED)
settings.register_profile("ci", _UNTIMED, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "untimed")

# What is collected lives as long as the process; looking through it again and again for garbage
# was a third of the time that collecting the tests took.
gc.disable()

log_plainly()
share_trust()
hear_the_keyboard()

# Between choosing a port and listening on it, another worker could choose the same one.
process.PORTS = own_part(process.PORTS)

# Behind a company's proxy the tests reach their own servers all the same.
os.environ.update(past_proxies(os.environ))

EXTERNAL_BROKER = "BAROGRAPH_TEST_BROKER_URL"
_CLUSTER = Path(__file__).parent / "cluster"
_STACK = pytest.StashKey[Stack]()
_FOLDER = pytest.StashKey[SessionFolder]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        choices=("private", "container"),
        default="private",
        help="RabbitMQ for the tests: a node of this machine's package, or (with a Docker "
        f"engine) testcontainers'. {EXTERNAL_BROKER} names a running one instead.",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest chooses where temporary folders are
def pytest_configure(config: pytest.Config) -> None:
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.stash[_FOLDER] = folder = SessionFolder(place_of_sessions())
        config.option.basetemp = str(folder.path)


def _cluster_named(config: pytest.Config) -> bool:
    named = (Path(str(argument).split("::")[0]).resolve() for argument in config.args)
    return any(path == _CLUSTER or _CLUSTER in path.parents for path in named)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Kubernetes is built for minutes: its tests run where they are asked for by name."""
    if collection_path == _CLUSTER and not _cluster_named(config):
        return True
    return None


def pytest_report_header(config: pytest.Config) -> str | None:
    if _cluster_named(config):
        return None
    return "tests/cluster is not part of this run: `make test-cluster` runs it"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> InOrder | None:
    return InOrder(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    keep_what_is_loaded()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.path))
    for item in items:
        if _uses_stack(item) and not is_on_the_stack(item.path):
            raise pytest.UsageError(f"{item.path}: name it in ON_THE_STACK of tests/order.py")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The whole platform computes while it waits: it ends with the last test that uses it."""
    if nextitem is None or not _uses_stack(nextitem):
        _stop_stack(item.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    _stop_stack(config)
    if (folder := config.stash.get(_FOLDER, None)) is not None:
        folder.close()


def _uses_stack(item: pytest.Item) -> bool:
    return "stack_collector" in getattr(item, "fixturenames", ())


def _stop_stack(config: pytest.Config) -> None:
    if (running := config.stash.get(_STACK, None)) is not None:
        del config.stash[_STACK]
        running.stop()


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "migrate", migration_by_copy())
        yield


@pytest.fixture(scope="session")
def broker_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerUnderTest]:
    """A real RabbitMQ; a machine without one fails the tests, it does not skip them."""
    external = os.environ.get(EXTERNAL_BROKER)
    server: BrokerUnderTest
    if external:
        server = ExternalBroker(external)
    elif request.config.getoption("--broker") == "container":
        server = ContainerBroker()
    else:
        server = PrivateBroker(tmp_path_factory.mktemp("broker"))
    try:
        server.start()
    except EmbeddedError as error:
        pytest.fail(f"{error}; {EXTERNAL_BROKER} names a running one", pytrace=False)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def broker(broker_server: BrokerUnderTest) -> BrokerUnderTest:
    """The broker, without what the tests of other files left in its queues."""
    if not isinstance(broker_server, ExternalBroker):
        with httpx.Client(base_url=f"{broker_server.admin_url}/api", timeout=60) as admin:
            # Those before the outlets come with the broker; no service may declare them.
            kept = {queue.name for queue in outlet_queues()}
            for queue in admin.get("/queues").raise_for_status().json():
                if queue["name"] in kept:
                    continue
                gone = admin.delete(f"/queues/%2F/{quote(queue['name'], safe='')}")
                assert gone.status_code in {204, 404}, gone.text
    return broker_server


@dataclass(frozen=True)
class ObjectStoreUnderTest:
    """Where the S3 server is and the keys it accepts."""

    url: str
    access_key: str
    secret_key: str


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStoreUnderTest]:
    """A real S3 server that checks signatures."""
    server = EmbeddedObjectStore(tmp_path_factory.mktemp("object-store"))
    try:
        server.start()
    except EmbeddedError as error:
        pytest.fail(str(error), pytrace=False)
    yield ObjectStoreUnderTest(server.url, server.access_key, server.secret_key)
    server.stop()


@pytest.fixture(scope="session")
def stack_collector() -> Iterator[Collector]:
    """Where the services of ``stack`` send their spans."""
    yield from collecting()


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    stack_collector: Collector,
) -> Stack:
    """The whole platform: all services and the node agent on private servers."""
    running = request.config.stash.get(_STACK, None)
    if running is None:
        env = {"BAROGRAPH_TRACES_URL": stack_collector.url}
        running = Stack(tmp_path_factory.mktemp("stack"), env=env)
        try:
            running.start()
        except EmbeddedError as error:
            pytest.fail(str(error), pytrace=False)
        request.config.stash[_STACK] = running
    return running
