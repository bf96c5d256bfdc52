"""RabbitMQ, PostgreSQL and SeaweedFS as an installation in production has them: its own, by TLS.

They are the quickstart's servers with its passwords, in a namespace of their own, empty, and with
certificates of an authority that nobody knows yet.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster.authority import Authority
from tests.cluster.node.release import NAME, Release
from tests.waiting import eventually

NAMESPACE = "servers"
_PORTS = {"rabbitmq": 5671, "postgresql": 5432, "seaweedfs": 8333}
_TLS = "/etc/barograph/tls"
_CERTIFICATES = {"ca.crt": f"{_TLS}.ca", "tls.crt": f"{_TLS}.crt", "tls.key": f"{_TLS}.key"}
_KEPT = ("name", "labels")
_BROKER = f"""listeners.tcp = none
listeners.ssl.default = 5671
ssl_options.cacertfile = {_TLS}.ca
ssl_options.certfile = {_TLS}.crt
ssl_options.keyfile = {_TLS}.key
"""
_TO_DATABASE = "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH"


@dataclass
class OwnServers:
    """The three servers beside a release with the quickstart, whose settings they share."""

    release: Release
    authority: Authority

    @property
    def certificate(self) -> str:
        """The authority's own certificate (PEM)."""
        return self.authority.own.certificate.read_text()

    def host(self, server: str) -> str:
        return f"{NAME}-{server}.{NAMESPACE}.svc"

    def start(self) -> None:
        """Return when all three answer."""
        kube = self.release.kube
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        pair = self.authority.issue(
            "servers", "servers", hosts=[*map(self.host, _PORTS), "127.0.0.1"]
        )
        files = {"ca.crt": self.certificate}
        files |= {"tls.crt": pair.certificate.read_text(), "tls.key": pair.key.read_text()}
        kube.apply(secret("tls", files, NAMESPACE))
        for server in _PORTS:
            kube.apply(*self._objects(server))
        eventually(self._stand, "the servers of one's own", 300)

    def _stand(self) -> bool:
        found = self.release.kube.get("statefulsets", "-n", NAMESPACE)["items"]
        return all(each["status"].get("readyReplicas") for each in found)

    def _objects(self, server: str) -> list[dict[str, Any]]:
        """Return what the quickstart made for this server, changed to speak TLS only."""
        label = f"app.kubernetes.io/component={server}"
        found = self.release.kube.get(
            "configmap,service,statefulset", "-n", self.release.namespace, "-l", label
        )["items"]
        (passwords,) = (
            self.release.kube.get("secret", f"{NAME}-{server}", "-n", self.release.namespace),
        )
        return [_CHANGES[each["kind"]](server, _bare(each)) for each in [*found, passwords]]

    # Databases

    def save_database(self, name: str) -> str:
        """The quickstart's database as pg_dump writes it, in base64."""
        command = (
            f"{_TO_DATABASE}; PGPASSWORD=$(cat $SECRETS/password) pg_dump --host=127.0.0.1"
            f" --username=barograph --format=custom --no-owner {name} | base64 -w0"
        )
        return self.release.exec("postgresql", ["sh", "-c", command])

    def load_database(self, name: str, password: str, saved: str) -> None:
        """Restore it here, as the documentation has it."""
        url = shlex.quote(f"postgresql://{name}:{password}@127.0.0.1/{name}")
        command = (
            f"{_TO_DATABASE}; base64 -d | pg_restore --no-owner --clean --if-exists"
            f" --single-transaction --exit-on-error --dbname={url}"
        )
        target = f"statefulset/{NAME}-postgresql"
        self.release.kube.kubectl(
            "exec", "-i", "-n", NAMESPACE, target, "--", "sh", "-c", command, stdin=saved
        )


def secret(name: str, values: Mapping[str, str], namespace: str) -> dict[str, Any]:
    """A Secret with these texts."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}


def _bare(found: dict[str, Any]) -> dict[str, Any]:
    """An object as it would be written, for the other namespace."""
    metadata = {key: found["metadata"][key] for key in _KEPT if key in found["metadata"]}
    bare = {key: value for key, value in found.items() if key not in ("metadata", "status")}
    return bare | {"metadata": metadata | {"namespace": NAMESPACE}}


def _configured(_server: str, made: dict[str, Any]) -> dict[str, Any]:
    files = made["data"]
    if "rabbitmq.conf" in files:
        files["rabbitmq.conf"] = files["rabbitmq.conf"].replace(
            "listeners.tcp.default = 5672\n", _BROKER
        )
    if "postgresql.sh" in files:
        by_tls = f" -c ssl=on -c ssl_cert_file={_TLS}.crt -c ssl_key_file={_TLS}.key\n"
        script = files["postgresql.sh"].rstrip("\n") + by_tls
        files["postgresql.sh"] = script.replace("'host all all all", "'hostssl all all all")
    return made


def _served(server: str, made: dict[str, Any]) -> dict[str, Any]:
    (port,) = made["spec"]["ports"]
    kept = {"name": port["name"], "port": _PORTS[server], "targetPort": port["targetPort"]}
    made["spec"] = {"selector": made["spec"]["selector"], "ports": [kept]}
    return made


def _run(server: str, made: dict[str, Any]) -> dict[str, Any]:
    spec = made["spec"]
    for name in ("volumeClaimTemplates", "persistentVolumeClaimRetentionPolicy"):
        spec.pop(name, None)
    pod = spec["template"]["spec"]
    pod["volumes"] = [each for each in pod["volumes"] if each["name"] != "data"]
    pod["volumes"].append({"name": "data", "emptyDir": {}})
    (files,) = (each["projected"] for each in pod["volumes"] if "projected" in each)
    items = [{"key": key, "path": path.rpartition("/")[2]} for key, path in _CERTIFICATES.items()]
    files["sources"].append({"secret": {"name": "tls", "items": items}})
    # PostgreSQL refuses a key that others could read.
    files["defaultMode"] = 0o640
    (container,) = pod["containers"]
    container["ports"][0]["containerPort"] = _PORTS[server]
    if server == "seaweedfs":
        container["command"] += [f"-s3.cert.file={_TLS}.crt", f"-s3.key.file={_TLS}.key"]
    return made


_CHANGES: Mapping[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
    "ConfigMap": _configured,
    "Secret": lambda _server, made: made,
    "Service": _served,
    "StatefulSet": _run,
}
