"""The API ``external.metrics.k8s.io`` as an adapter for Prometheus serves it: the lag of streams.

The API server asks this process for it; the answers are what the detectors' pods export.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.cluster.kube import Kube
from tests.cluster.plane import ControlPlane
from tests.waiting import eventually

METRIC = "barograph_partition_lag_seconds"
_NAME, _NAMESPACE = "external-metrics", "kube-system"
_GROUP, _VERSION = "external.metrics.k8s.io", "v1beta1"
_API = f"{_VERSION}.{_GROUP}"


class ExternalMetrics:
    """Serves ``METRIC`` while the block runs.

    Args:
        kube: the cluster.
        plane: its control plane, which is our own.
        lag_s: the lag of the slowest stream.
    """

    def __init__(self, kube: Kube, plane: ControlPlane, lag_s: Callable[[], float]) -> None:
        self._kube, self._plane = kube, plane
        self._server = ThreadingHTTPServer((plane.network.address, 0), _handler(lag_s))
        pair = plane.authority.issue(_NAME, _NAME, hosts=[plane.network.address])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._kube.apply(*self._objects())
        eventually(self._available, "the API of external metrics")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kube.kubectl("delete", "apiservice", _API)
        self._kube.kubectl("delete", "service", _NAME, "-n", _NAMESPACE)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _available(self) -> bool:
        conditions = self._kube.get("apiservice", _API).get("status", {}).get("conditions", [])
        return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)

    def _objects(self) -> list[dict[str, Any]]:
        metadata = {"name": _NAME, "namespace": _NAMESPACE}
        port = self._server.server_address[1]
        return [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata | {"labels": {"kubernetes.io/service-name": _NAME}},
                "addressType": "IPv4",
                "ports": [{"name": "https", "port": port}],
                "endpoints": [
                    {"addresses": [self._plane.network.address], "conditions": {"ready": True}}
                ],
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": _API},
                "spec": {
                    "group": _GROUP,
                    "version": _VERSION,
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                    "insecureSkipTLSVerify": True,
                    "service": {"name": _NAME, "namespace": _NAMESPACE, "port": 443},
                },
            },
        ]


def _handler(lag_s: Callable[[], float]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.endswith(f"/{METRIC}"):
                self._answer(_values(lag_s()))
            elif path.rstrip("/").endswith(f"/{_VERSION}"):
                self._answer(_KINDS)
            else:
                self.send_error(404)

        def _answer(self, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the autoscaler's events say what it saw."""

    return Handler


_KINDS = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{_GROUP}/{_VERSION}",
    "resources": [
        {
            "name": METRIC,
            "singularName": "",
            "namespaced": True,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }
    ],
}


def _values(lag_s: float) -> dict[str, Any]:
    value = {
        "metricName": METRIC,
        "metricLabels": {},
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "value": f"{round(lag_s * 1000)}m",
    }
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": f"{_GROUP}/{_VERSION}",
        "metadata": {},
        "items": [value],
    }
