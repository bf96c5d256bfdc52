"""A healer killed between what it does in a cluster and its note of it, as a process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.contracts import SeriesRef
from tests.alert_desk import ALERTING, Desk, alarm
from tests.brokers import BrokerUnderTest

PATH = "/apis/apps/v1/namespaces/shop/deployments/web"
POLICY = {"rules": [{"namespaces": "shop", "level": "automatic", "remediation": "rollout-restart"}]}


class ApiServer:
    """One Deployment behind HTTP: a change is made at once, its answer held until it may go."""

    def __init__(self) -> None:
        self.restarts = 0
        self.asked_again = threading.Event()
        """Somebody looked at the Deployment after it was changed."""
        self.changed, self.may_answer = threading.Event(), threading.Event()
        self._workload: dict[str, Any] = {
            "metadata": {
                "name": "web",
                "namespace": "shop",
                "uid": "u1",
                "generation": 1,
                "resourceVersion": "1",
            },
            "spec": {"template": {"metadata": {}}},
        }
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if outer.restarts:
                    outer.asked_again.set()
                self._answer(outer._workload if self.path == PATH else None)

            def do_PATCH(self) -> None:
                patch = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer._change(patch)
                outer.changed.set()
                outer.may_answer.wait(120)
                self._answer(outer._workload)

            def _answer(self, item: dict[str, Any] | None) -> None:
                body = json.dumps(item or {"message": "no such object"}).encode()
                try:
                    self.send_response(200 if item else 404)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    pass  # who asked was killed

            def log_message(self, *_: object) -> None:
                """The test's output is not its log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _change(self, patch: dict[str, Any]) -> None:
        meta = self._workload["metadata"]
        self._workload["spec"]["template"]["metadata"] |= patch["spec"]["template"]["metadata"]
        meta["generation"] += 1
        meta["resourceVersion"] = str(meta["generation"])
        self.restarts += 1

    def kubeconfig(self, folder: Path) -> Path:
        server = {"server": f"http://127.0.0.1:{self._server.server_port}"}
        path = folder / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "it",
                    "clusters": [{"name": "it", "cluster": server}],
                    "users": [{"name": "it", "user": {}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                }
            )
        )
        return path

    def stop(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def desk(broker: BrokerUnderTest, tmp_path: Path, api: ApiServer) -> Iterator[Desk]:
    allowed = {"kubeconfig": str(api.kubeconfig(tmp_path)), "namespaces": ["shop"]}
    settings = {
        "BAROGRAPH_HEALER_POLICY": json.dumps(POLICY),
        "BAROGRAPH_HEALER_REMEDIATIONS": json.dumps({"rollout-restart": allowed}),
    }
    made = Desk(tmp_path, broker, ALERTING, settings)
    try:
        yield made
    finally:
        made.stop()


def test_what_the_api_server_did_for_a_healer_killed_before_its_answer_is_not_done_again(
    desk: Desk, api: ApiServer
) -> None:
    series = SeriesRef(
        host="kube", item="app.errors", labels={"namespace": "shop", "deployment": "web"}
    )
    desk.say(alarm("kube", "app.errors").model_copy(update={"series": series}))
    desk.until(api.changed.is_set, "the restart")
    desk.kill()
    assert api.restarts == 1
    api.may_answer.set()
    desk.start()

    def states() -> list[str]:
        return [action["state"] for action in desk.get("/actions")]

    desk.until(lambda: states() == ["verifying"], "its outcome, from the healer's successor")
    assert api.asked_again.is_set(), "it looked whether it had happened"
    assert api.restarts == 1
    (action,) = desk.get("/actions")
    assert [step["action"] for step in action["steps"]] == ["restart"]
