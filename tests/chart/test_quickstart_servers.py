"""Broker and object store of the quickstart, started as the chart starts them."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from shared import topology
from shared.embedded.process import LOOPBACK, OwnedProcess, accepts, free_ports, wait_until
from shared.embedded.stack import MODULES
from shared.messaging import Bus, tokens
from shared.storage import AccessDenied, S3Store
from shared.topology import Principal
from tests.chart.pod_processes import start
from tests.chart.rendering import Manifest, containers, named, pods, render

_START_TIMEOUT_S = 180.0


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render("quickstart")


def secret(manifests: list[Manifest], name: str) -> dict[str, str]:
    values: dict[str, str] = named(manifests, "Secret", name)["stringData"]
    return values


def await_port(process: OwnedProcess, port: int) -> None:
    wait_until(lambda: accepts(port), _START_TIMEOUT_S, "the server", alive=process.alive)


@dataclass(frozen=True)
class Broker:
    """Ports of a RabbitMQ with the chart's configuration, and what the chart says of it."""

    amqp: int
    management: int
    urls: dict[str, str]
    passwords: dict[str, str]

    def url(self, user: str) -> str:
        """The URL services are given, led to this machine."""
        told = urlsplit(self.urls[user])
        assert told.hostname == "demo-barograph-rabbitmq.barograph.svc"
        assert told.port == 5672
        return self.urls[user].replace(f"{told.hostname}:5672", f"{LOOPBACK}:{self.amqp}")


@pytest.fixture(scope="module")
def broker(manifests: list[Manifest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    amqp, management, prometheus, epmd, distribution = free_ports(5)
    listeners = {
        "listeners.tcp.local": f"{LOOPBACK}:{amqp}",
        "management.tcp.ip": LOOPBACK,
        "management.tcp.port": management,
        "prometheus.tcp.ip": LOOPBACK,
        "prometheus.tcp.port": prometheus,
    }
    directory = tmp_path_factory.mktemp("rabbitmq")
    # In its pod the node starts a daemon that ends with the pod; here nobody would end it.
    mapper = OwnedProcess(
        ["epmd", "-port", str(epmd), "-address", LOOPBACK], log=directory / "epmd.log"
    )
    await_port(mapper, epmd)
    node = start(
        manifests,
        "rabbitmq",
        directory,
        instead={
            "listeners.tcp.default = 5672": "\n".join(f"{k} = {v}" for k, v in listeners.items()),
            "rabbit@localhost": f"chart{secrets.token_hex(4)}@localhost",
        },
        environment={"ERL_EPMD_PORT": str(epmd), "RABBITMQ_DIST_PORT": str(distribution)},
    )
    urls, passwords = (secret(manifests, f"quickstart-{n}") for n in ("broker", "passwords"))
    try:
        await_port(node, amqp)
        await_port(node, management)
        yield Broker(amqp, management, urls, passwords)
    finally:
        print(node.log_tail())  # noqa: T201 - shown where a test fails
        node.stop()
        mapper.stop()


@pytest.fixture(scope="module")
def object_store(
    manifests: list[Manifest], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    s3, master, volume, filer = free_ports(4, twin_offset=10_000)
    directory = tmp_path_factory.mktemp("seaweedfs")
    server = start(
        manifests,
        "seaweedfs",
        directory,
        instead={
            "-s3.port=8333": f"-s3.port={s3}",
            "-s3.ip.bind=0.0.0.0": f"-s3.ip.bind={LOOPBACK}",
        },
        environment={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        options=[
            f"-master.port={master}",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            f"-filer.localSocket={directory}/filer.sock",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ],
    )
    try:
        await_port(server, s3)
        yield f"http://{LOOPBACK}:{s3}"
    finally:
        print(server.log_tail())  # noqa: T201 - shown where a test fails
        server.stop()
        for socket in Path("/tmp").glob(f"seaweedfs-*-{s3 + 10_000}.sock"):
            socket.unlink()


def test_every_service_finds_its_queues_and_may_declare_them_again(broker: Broker) -> None:
    with httpx.Client(
        base_url=f"http://{LOOPBACK}:{broker.management}/api",
        auth=("admin", broker.passwords["broker-admin"]),
        timeout=60,
    ) as admin:
        before = {queue["name"] for queue in admin.get("/queues").raise_for_status().json()}
        assert before == {
            queue.name
            for user in Principal
            for queue in [*topology.work_queues(user, "{instance}"), *topology.retry_queues(user)]
            if "{" not in queue.name
        } | {queue.name for queue in topology.outlet_queues()}
        buses = [Bus(broker.url(name), name, "node-1") for name in MODULES]
        try:
            for bus in buses:
                bus.start()
            for bus in buses:
                bus.wait_ready(60)
        finally:
            for bus in buses:
                bus.stop()
        users = {user["name"] for user in admin.get("/users").raise_for_status().json()}
    assert users == {*Principal, "admin"}, "and no guest"


def test_everybody_has_a_password_of_their_own(broker: Broker) -> None:
    passwords = {n: p for n, p in broker.passwords.items() if not n.startswith("member-")}
    assert len(set(passwords.values())) == len(passwords)
    assert set(broker.urls) == {*Principal, "member-signing-key"} - {"operator"}
    assert all(len(password) == 32 for password in passwords.values())


def test_a_jobs_token_made_with_the_charts_key_opens_that_jobs_messages(broker: Broker) -> None:
    key = broker.urls["member-signing-key"]
    until = time.time() + 600
    url = tokens.url_with_token(broker.url("member"), key, Principal.MEMBER, "job1", until)
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))) as link:
        channel = link.channel()
        channel.confirm_delivery()
        channel.basic_publish("from.member", "pod.exited.job1", b"")
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "from.autospec", "clusterspec.ready.job1")
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            channel.basic_publish("from.member", "pod.exited.job2", b"")


def test_only_the_task_service_gets_the_key_that_signs(manifests: list[Manifest]) -> None:
    users = [
        pod
        for pod, spec in pods(manifests)
        for container in containers(spec)
        for variable in container.get("env", [])
        if variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key") == "member-signing-key"
    ]
    assert users == ["demo-barograph-task"]
    assert "PRIVATE" not in str(secret(manifests, "rabbitmq"))


def test_services_keep_objects_and_nobody_without_the_keys_does(
    manifests: list[Manifest], object_store: str
) -> None:
    keys = secret(manifests, "quickstart-objects")
    told = named(manifests, "ConfigMap", "task")["data"]
    assert told["BAROGRAPH_S3_URL"] == "http://demo-barograph-seaweedfs.barograph.svc:8333"
    store = S3Store(object_store, keys["access-key"], keys["secret-key"])

    store.ensure_bucket(told["BAROGRAPH_S3_BUCKET"])
    store.put("barograph", "a/key", b"content")

    assert store.get("barograph", "a/key") == b"content"
    with pytest.raises(AccessDenied):
        S3Store(object_store, keys["access-key"], "guessed").get("barograph", "a/key")
    assert httpx.get(f"{object_store}/barograph/a/key", timeout=60).status_code == 403


def test_the_grpc_port_beside_s3_answers_nobody_without_its_certificate(
    object_store: str,
) -> None:
    told = urlsplit(object_store)
    assert told.port is not None
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    anybody.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((LOOPBACK, told.port + 10_000), timeout=60) as plain,
        anybody.wrap_socket(plain) as link,
        pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|bad.certificate"),
    ):
        _read_to_end(link)


def _read_to_end(link: ssl.SSLSocket) -> None:
    while link.recv(4096):
        pass


def test_the_database_urls_are_of_the_roles_that_are_made(manifests: list[Manifest]) -> None:
    made = secret(manifests, "postgresql")["init.sql"]
    urls = secret(manifests, "quickstart-database")

    assert set(urls) == {"client", "task", "autospec", "healer"}
    for service, url in urls.items():
        told = urlsplit(url)
        assert (told.hostname, told.port) == ("demo-barograph-postgresql.barograph.svc", 5432)
        assert (told.username, told.path) == (service, f"/{service}")
        assert f"CREATE ROLE {service} LOGIN PASSWORD '{told.password}';" in made
        assert f"CREATE DATABASE {service} OWNER {service};" in made


def test_passwords_and_volumes_outlive_an_uninstall_together(manifests: list[Manifest]) -> None:
    kept = named(manifests, "Secret", "quickstart-passwords")["metadata"]["annotations"]
    assert kept["helm.sh/resource-policy"] == "keep"
    for server in ("rabbitmq", "seaweedfs", "postgresql"):
        spec = named(manifests, "StatefulSet", server)["spec"]
        policy = spec["persistentVolumeClaimRetentionPolicy"]
        assert policy == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_without_persistence_their_data_ends_with_the_pod() -> None:
    manifests = render("quickstart", {"quickstart": {"persistence": False}})
    for server in ("rabbitmq", "seaweedfs", "postgresql"):
        spec = named(manifests, "StatefulSet", server)["spec"]
        assert "volumeClaimTemplates" not in spec
        assert {"name": "data", "emptyDir": {}} in spec["template"]["spec"]["volumes"]
