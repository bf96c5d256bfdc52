"""A backup of an installation, restored where nothing of it was, on servers of one's own by TLS."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest

from tests.cluster.authority import Authority
from tests.cluster.images import Images
from tests.cluster.kube import Kube
from tests.cluster.node.job_programs import WAITS
from tests.cluster.node.object_copies import ObjectCopies
from tests.cluster.node.own_servers import NAMESPACE as SERVERS
from tests.cluster.node.own_servers import OwnServers, secret
from tests.cluster.node.release import NAME, Release
from tests.cluster.node.release_values import by_digest
from tests.cluster.node.worker import RealNode
from tests.waiting import eventually

RESTORED = "restored"
_DATABASES = ("client", "task", "autospec", "healer")
_HOST, _GATEWAY_HOST = "barograph.example", "metrics.example"
_ROUTES = "gateway.networking.k8s.io_httproutes.yaml"


@dataclass
class Backup:
    """What the documentation says to back up; the objects are in ``copies``."""

    secrets: Mapping[str, Mapping[str, str]]
    databases: Mapping[str, str]
    copies: ObjectCopies
    objects: int


def _saved(release: Release, servers: OwnServers) -> Backup:
    """Save everything while it runs."""
    found = release.kube.get("secret", "-n", release.namespace)["items"]
    secrets = {
        each["metadata"]["name"].removeprefix(f"{NAME}-"): {
            key: base64.b64decode(value).decode() for key, value in each.get("data", {}).items()
        }
        for each in found
        if each["type"] == "Opaque"
    }
    copies = ObjectCopies(release.kube, SERVERS)
    copies.start()
    url = f"http://{release.host_of('seaweedfs')}:8333"
    objects = copies.save(url, secrets["quickstart-objects"])
    databases = {name: servers.save_database(name) for name in _DATABASES}
    return Backup(secrets, databases, copies, objects)


def _restore(backup: Backup, servers: OwnServers) -> None:
    """Databases, bucket and Secrets, in the order of the documentation."""
    passwords = backup.secrets["quickstart-passwords"]
    for name, saved in backup.databases.items():
        servers.load_database(name, passwords[f"database-{name}"], saved)
    url = f"https://{servers.host('seaweedfs')}:8333"
    assert backup.copies.load(url, backup.secrets["quickstart-objects"]) == backup.objects > 0

    def moved(address: str, server: str, port: int) -> str:
        credentials, _, rest = address.rpartition("@")
        return f"{credentials}@{servers.host(server)}:{port}/{rest.partition('/')[2]}"

    broker = dict(backup.secrets["quickstart-broker"])
    for user in broker.keys() - {"member-signing-key"}:
        broker[user] = moved(broker[user], "rabbitmq", 5671).replace("amqp:", "amqps:")
    database = {
        name: moved(address, "postgresql", 5432) + "?sslmode=verify-full"
        for name, address in backup.secrets["quickstart-database"].items()
    }
    kube = servers.release.kube
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESTORED}})
    kube.apply(
        secret("broker", broker, RESTORED),
        secret("database", database, RESTORED),
        secret("objects", backup.secrets["quickstart-objects"], RESTORED),
        secret("tokens", backup.secrets["tokens"], RESTORED),
    )


def _values(servers: OwnServers) -> dict[str, Any]:
    """The chart on those servers, with images by digest and routes of the Gateway API."""
    url = f"https://{servers.host('seaweedfs')}:8333"
    return by_digest(Images.of_sources()) | {
        "trust": {"certificates": servers.certificate},
        "broker": {"existingSecret": "broker", "port": 5671},
        "objectStore": {"url": url, "existingSecret": "objects", "port": 8333},
        "database": {"existingSecret": "database"},
        "tokens": {"existingSecret": "tokens"},
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": SERVERS}],
            "host": _HOST,
            "gatewayHost": _GATEWAY_HOST,
        },
        "nodeAgent": {"enabled": False},
    }


@pytest.fixture
def routes(kube_server: Kube) -> Iterator[None]:
    """The Gateway API's routes are a kind that the cluster serves."""
    if kube_server.plane is None:
        yield
        return
    kind = str(kube_server.plane.network.program("kinds") / _ROUTES)
    kube_server.kubectl("apply", "--server-side", "-f", kind)
    eventually(
        lambda: "gateway.networking.k8s.io/v1" in kube_server.kubectl("api-versions").split(),
        "the kind",
    )
    yield
    kube_server.kubectl("delete", "-f", kind)


@pytest.fixture
def servers(release: Release) -> Iterator[OwnServers]:
    yield OwnServers(release, Authority(release.kube.state / "own-authority"))
    release.kube.kubectl("delete", "namespace", SERVERS, "--ignore-not-found")


_ASK = """
import http.client, sys, urllib.parse
address, host = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2]
link = http.client.HTTPConnection(address.netloc, timeout=20)
link.request("GET", address.path, headers={"Host": host})
print(link.getresponse().status)
"""


def _answer_of(route: dict[str, Any], path: str, release: Release) -> int:
    """The status that a Gateway gets which does as the route says."""
    (rule,), (host,) = route["spec"]["rules"], route["spec"]["hostnames"]
    (backend,) = rule["backendRefs"]
    url = f"http://{backend['name']}.{release.namespace}.svc:{backend['port']}{path}"
    command = ["python3", "-c", _ASK, url, host]
    return int(release.kube.kubectl("exec", "-n", SERVERS, "copies", "--", *command))


@pytest.mark.usefixtures("routes")
def test_a_backup_is_restored_on_other_servers_by_tls_with_an_authority_and_images_by_digest(
    release: Release, node: RealNode | None, servers: OwnServers
):
    if node is None:
        pytest.skip("images by digest, and names of images, are those of our own node")
    node.name_by_digest()
    ended = release.submit_program("print('before the backup')\n")
    assert release.wait_for_end(ended)["state"] == "succeeded", release.told(ended)
    runs = release.submit_program(WAITS)
    eventually(lambda: release.running(runs), "a job that runs during the backup", 180)
    servers.start()
    backup = _saved(release, servers)
    release.tshell("cancel", runs)
    restored = Release(release.kube, release.images_are_ours, _values(servers), RESTORED)
    try:
        _restore(backup, servers)
        restored.ensure_installed()
        _look_at(restored, ended, runs)
    finally:
        restored.remove()


def _look_at(restored: Release, ended: str, runs: str) -> None:
    """The same jobs and logs are there, new ones run, and samples are judged."""
    assert restored.job(ended)["job"]["state"] == "succeeded"
    assert restored.tshell("logs", ended) == "before the backup\n"
    eventually(lambda: restored.running(runs), "the job that was running is started again", 240)
    restored.tshell("cancel", runs)
    said = restored.test()
    assert "succeeded; its log is kept: the job ran, on" in said
    assert "is resolved" in said
    pods = restored.kube.core.list_namespaced_pod(restored.namespace).items
    images = {each.image for pod in pods for each in pod.spec.containers}
    assert all("@sha256:" in image for image in images), images
    found = restored.kube.get("httproutes", "-n", restored.namespace)["items"]
    routes = {each["spec"]["hostnames"][0]: each for each in found}
    # A page of the client, and the gateway's door for samples, which takes no GET.
    assert _answer_of(routes[_HOST], "/login", restored) == HTTPStatus.OK
    assert (
        _answer_of(routes[_GATEWAY_HOST], "/api/v1/write", restored)
        == HTTPStatus.METHOD_NOT_ALLOWED
    )
