"""Labels come with samples: none of them leads a remediation to an object of its choice."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.healer.remediations import Step, make
from services.healer.remediations.on_cluster import OnCluster
from shared.cluster import Cluster, Invalid
from shared.contracts import SeriesRef


@dataclass
class ApiServer:
    """Answers every request with one pod of another namespace, and keeps what was asked."""

    kubeconfig: Path
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    kubeconfig = tmp_path_factory.mktemp("cluster") / "kubeconfig"
    found = ApiServer(kubeconfig)
    meta = {"name": "coredns-1", "namespace": "kube-system", "uid": "u", "resourceVersion": "1"}
    meta |= {"ownerReferences": [{"controller": True, "kind": "ReplicaSet"}]}
    pod = {"metadata": meta, "spec": {}, "status": {"phase": "Running"}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.asked.append((self.command, self.path))
            body = json.dumps(pod).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


class Journal:
    """Counts the steps that were begun."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def intend(self, step: Step) -> None:
        self.steps.append(step)

    def done(self, step: Step) -> None:
        pass

    def failed(self, step: Step, error: str) -> None:
        pass


NAMES = [
    "cart-1",
    "../../kube-system/pods/coredns-1",
    "a/b",
    "web?x=y",
    "web#z",
    "%2e%2e",
    "..",
    "A",
]
SPACES = ["shop", "shop-1/../kube-system", "shop/..", "shop%2f", "shop ", "Shop"]


@pytest.mark.parametrize("namespace", SPACES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["restart-pod", "rollout-restart", "scale-deployment"])
def test_labels_reach_no_object_outside_the_allow_list(
    kind: str, name: str, namespace: str, api: ApiServer
) -> None:
    api.asked.clear()
    fields: dict[str, Any] = {"namespaces": ["shop*"], "kubeconfig": str(api.kubeconfig)}
    remedy = make(kind, fields)
    assert isinstance(remedy, OnCluster)
    labels = {"namespace": namespace, remedy.LABELS[0]: name}
    journal = Journal()
    series = SeriesRef(host="h", item="restarts", labels=labels)
    outcome = remedy.run(series, dry_run=False, journal=journal)
    assert not outcome.succeeded
    assert journal.steps == []
    allowed = f"/namespaces/shop/{'pods' if kind == 'restart-pod' else ''}"
    assert all(method == "GET" and allowed in path for method, path in api.asked)
    assert not api.asked or (name, namespace) == ("cart-1", "shop")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_the_doorway_takes_only_paths_of_names(before: str, after: str) -> None:
    cluster = Cluster.__new__(Cluster)
    for bad in (f"/api/v1/{before}/../{after}", f"/api/v1/{before}?{after}", f"{before}//{after}"):
        with pytest.raises(Invalid, match="does not name an object"):
            cluster.get(bad)
        with pytest.raises(Invalid, match="does not name an object"):
            cluster.watch(bad, 1.0)
