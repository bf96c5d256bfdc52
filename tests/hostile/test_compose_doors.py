"""compose.yaml: jobs' programs reach its network, and local users the ports it publishes."""

from __future__ import annotations

import re
import runpy
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from shared.embedded.object_store import find_server
from shared.embedded.process import OwnedProcess, accepts, free_ports, wait_until
from shared.storage import S3Store
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the script has made users and passwords."""
    checkout = tmp_path_factory.mktemp("checkout")
    script = checkout / "scripts" / "compose_definitions.py"
    script.parent.mkdir()
    script.write_text((ROOT / "scripts" / "compose_definitions.py").read_text())
    runpy.run_path(str(script))["main"]()
    return checkout


@pytest.fixture(scope="module")
def values(written: Path) -> dict[str, str]:
    """Return what .env says, as Compose reads it."""
    lines = (line.partition("=") for line in (written / ".env").read_text().splitlines())
    return {
        name: value[1:-1].replace("\\n", "\n") if value.startswith('"') else value
        for name, _, value in lines
    }


class Store:
    """The object store of compose.yaml, its command and files as they are, on other ports."""

    def __init__(self, directory: Path, values: dict[str, str]) -> None:
        self.values = values
        told = COMPOSE["services"]["s3"]
        places = {mount["target"]: directory / mount["source"] for mount in told["configs"]}
        for mount in told["configs"]:
            text = self._filled(COMPOSE["configs"][mount["source"]]["content"])
            for target, place in places.items():
                text = text.replace(target, str(place))
            places[mount["target"]].write_text(text)
        (directory / "security.toml").write_text(places["/etc/seaweedfs/security.toml"].read_text())
        (directory / "data").mkdir()
        self.port, *others = free_ports(4, twin_offset=10_000)
        instead = {
            "-dir=/data": f"-dir={directory / 'data'}",
            "-s3.config=/etc/s3.json": f"-s3.config={places['/etc/s3.json']}",
            "-s3.port=8333": f"-s3.port={self.port}",
        }
        command = [instead.get(part, part) for part in told["command"]]
        names = ("master", "volume", "filer")
        inner = [f"-{name}.port={port}" for name, port in zip(names, others, strict=True)]
        inner.append(f"-filer.localSocket={directory / 'filer.sock'}")
        self.process = OwnedProcess(
            [find_server(), f"-logdir={directory}", *command, *inner],
            log=directory / "log",
            cwd=directory,
        )
        wait_until(lambda: accepts(self.port), LIMIT_S, "S3", alive=self.process.alive)

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", lambda found: self.values[found[1]], text)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> Iterator[Store]:
    running = Store(tmp_path_factory.mktemp("store"), values)
    yield running
    running.process.stop()
    for port in (running.port, running.port + 10_000):
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            left.unlink()


def test_only_its_s3_api_is_reached_from_the_network_and_it_wants_keys(store: Store) -> None:
    own = [store.process.pid]
    open_ports = {
        link.laddr.port
        for link in psutil.net_connections("tcp")
        if link.status == psutil.CONN_LISTEN and link.pid in own and link.laddr.ip != "127.0.0.1"
    }
    assert open_ports == {store.port, store.port + 10_000}
    url = f"http://127.0.0.1:{store.port}"
    assert httpx.get(f"{url}/barograph?list-type=2", timeout=60).status_code == 403
    objects = S3Store(url, store.values["S3_ACCESS_KEY"], store.values["S3_SECRET_KEY"])
    objects.ensure_bucket("barograph")
    objects.put("barograph", "packages/x", b"kept")
    assert objects.get("barograph", "packages/x") == b"kept"


def greeted(port: int, context: ssl.SSLContext | None) -> bytes:
    """What a gRPC server says to somebody who begins to speak HTTP/2; nothing if it hangs up."""
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    link = context.wrap_socket(plain, do_handshake_on_connect=False) if context else plain
    with link:
        try:
            link.sendall(hello)
            return link.recv(100)
        except (ssl.SSLError, ConnectionError):
            return b""


def test_its_grpc_takes_nobody_without_its_certificate(store: Store, tmp_path: Path) -> None:
    port, pair = store.port + 10_000, tmp_path / "pair.pem"
    pair.write_text(store.values["S3_INNER_CERTIFICATE"] + "\n" + store.values["S3_INNER_KEY"])
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    anyone.set_alpn_protocols(["h2"])

    assert greeted(port, None) in {b"", b"\x15\x03\x01\x00\x02\x02\x46"}
    assert greeted(port, anyone) == b""
    anyone.load_cert_chain(pair)
    assert greeted(port, anyone), "who has it is answered"


def test_what_is_published_wants_a_token(values: dict[str, str]) -> None:
    doors = {
        "client": "BAROGRAPH_CLIENT_API_TOKEN",
        "detector": "BAROGRAPH_DETECTOR_GATEWAY_TOKEN",
        "healer": "BAROGRAPH_HEALER_HTTP_TOKEN",
    }
    published = {name for name, told in COMPOSE["services"].items() if told.get("ports")}
    assert published == {*doors, "rabbitmq", "s3"}
    for name, variable in doors.items():
        found = re.search(r"\$\{(\w+):\?", COMPOSE["services"][name]["environment"][variable])
        assert found, "compose stops where it is not set"
        assert len(values[found[1]]) >= 32
    for told in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in told.get("ports", ()))


def test_packages_are_uploaded_where_people_on_this_machine_reach_the_object_store() -> None:
    told = COMPOSE["services"]
    given = told["client"]["environment"]["BAROGRAPH_CLIENT_S3_PUBLIC_URL"]
    url = re.fullmatch(r"\$\{S3_PUBLIC_URL:-http://(.*)\}", given)
    assert url
    assert told["s3"]["ports"] == [f"{url[1]}:8333"]


def test_other_users_of_the_machine_read_no_key_of_it(
    written: Path, values: dict[str, str]
) -> None:
    secrets = [value for name, value in values.items() if name != "S3_INNER_CERTIFICATE"]
    for path in written.rglob("*"):
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            text = path.read_text()
            assert not [secret for secret in secrets if secret in text], path
    assert stat.S_IMODE((written / ".env").stat().st_mode) == 0o600


def test_an_older_environment_gets_what_it_lacks_and_loses_what_was_open(
    tmp_path: Path,
) -> None:
    script = tmp_path / "scripts" / "compose_definitions.py"
    script.parent.mkdir()
    script.write_text((ROOT / "scripts" / "compose_definitions.py").read_text())
    (tmp_path / ".state" / "compose").mkdir(parents=True)
    (tmp_path / ".state" / "compose" / "s3.json").write_text("keys")
    (tmp_path / ".env").write_text("S3_ACCESS_KEY=a\nS3_SECRET_KEY=b\n")

    runpy.run_path(str(script))["main"]()

    env = (tmp_path / ".env").read_text()
    assert env.startswith("S3_ACCESS_KEY=a\nS3_SECRET_KEY=b\n")
    assert {"CLIENT_TOKEN", "S3_INNER_KEY", "S3_INNER_CERTIFICATE"} <= {
        line.partition("=")[0] for line in env.splitlines()
    }
    assert not (tmp_path / ".state" / "compose" / "s3.json").exists()
