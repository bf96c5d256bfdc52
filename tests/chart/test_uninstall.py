"""Tests of what runs before the chart is deleted, against an API server's answers.

The real API server's are seen by the tests on a cluster; here, what it does with each.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from services.task.runtimes.kubernetes import names
from tests.chart.rendering import NAMESPACE, named, render

ROOT = Path(__file__).parents[2]
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
JOBS = "/apis/batch/v1/namespaces/barograph-jobs/jobs"
PODS_OF_JOBS = "/api/v1/namespaces/barograph-jobs/pods"
OF_JOBS = names.selector(f"{NAMESPACE}.demo")
SCALE = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/demo-barograph-task/scale"


class ApiServer:
    """Answers lists from what is left, one less each time it is asked after a deletion."""

    def __init__(self, pods: list[str], jobs: list[str]) -> None:
        self.left = {PODS: list(pods), JOBS: list(jobs), PODS_OF_JOBS: []}
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []
        self.going: set[str] = set()
        self.refuse = False
        self.away = 0
        """So many requests are not answered."""

    def answer(self, method: str, url: str, body: Any) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(url)
        self.asked.append((method, parts.path, parse_qs(parts.query), body))
        if self.refuse:
            return 403, {"message": "forbidden"}
        if method == "PATCH":
            self.going.add(PODS)
        elif method == "DELETE":
            self.going.add(parts.path)
        elif parts.path not in self.left:
            return 404, {"message": "not found"}
        else:
            items = [{"metadata": {"name": name}} for name in self.left[parts.path]]
            if parts.path in self.going:
                self.left[parts.path][:1] = []
            return 200, {"items": items}
        return 200, {}


@pytest.fixture
def api() -> Iterator[tuple[ApiServer, str]]:
    server = ApiServer(["task-1"], ["one", "two", "three"])

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            assert self.headers["Authorization"] == "Bearer the-token"
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if server.away:
                server.away -= 1
                if server.away % 2:
                    self.send_error(503)
                return
            status, answer = server.answer(self.command, self.path, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_PATCH = do_DELETE = _any  # noqa: N815 - theirs

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server, f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
    thread.join()


def uninstall(url: str, account: Path, wait_s: str = "60") -> subprocess.CompletedProcess[str]:
    (account / "token").write_text("the-token")
    job = named(render(), "Job", "uninstall")["spec"]["template"]["spec"]["containers"][0]
    told = {each["name"]: each["value"] for each in job["env"]}
    return subprocess.run(
        [sys.executable, ROOT / "charts/barograph/files" / Path(job["command"][1]).name],
        env=os.environ | told | {"API": url, "ACCOUNT": str(account), "WAIT_S": wait_s},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_task_service_is_gone_before_its_jobs_are_deleted(
    api: tuple[ApiServer, str], tmp_path: Path
) -> None:
    server, url = api
    done = uninstall(url, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "deleted 3 jobs: one, two, three" in done.stdout
    assert server.left == {PODS: [], JOBS: [], PODS_OF_JOBS: []}
    assert server.asked[0] == ("PATCH", SCALE, {}, {"spec": {"replicas": 0}})
    paths = [(method, path) for method, path, *_ in server.asked]
    (deletion,) = [each for each in server.asked if each[0] == "DELETE"]
    assert max(i for i, p in enumerate(paths) if p == ("GET", PODS)) < paths.index(deletion[:2])
    assert deletion[2] == {
        "labelSelector": [OF_JOBS],
        "propagationPolicy": ["Foreground"],
    }


def test_jobs_of_another_installation_in_the_same_namespace_are_left_alone(
    api: tuple[ApiServer, str], tmp_path: Path
) -> None:
    server, url = api
    uninstall(url, tmp_path)

    of_jobs = [q for _, path, q, _ in server.asked if path in (JOBS, PODS_OF_JOBS)]
    assert {selector for q in of_jobs for selector in q["labelSelector"]} == {OF_JOBS}
    owner = named(render(), "ConfigMap", "task")["data"]["BAROGRAPH_TASK_OWNER"]
    assert names.selector(owner) == OF_JOBS


@pytest.mark.parametrize("namespace", ["n" * 9, "n" * 62, "n" * 63, "n" * 51 + "-n"])
def test_no_two_installations_mark_their_jobs_alike(namespace: str) -> None:
    owners = []
    for release in ("r" * 52 + "a", "r" * 52 + "b"):
        values = {"jobs": {"namespace": "shared"}}
        made = render("external", values, "--namespace", namespace, release=release)
        owners.append(named(made, "ConfigMap", "task")["data"]["BAROGRAPH_TASK_OWNER"])
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", owners[-1])
    assert len({*owners}) == 2


def test_only_pods_of_this_releases_task_service_are_waited_for(
    api: tuple[ApiServer, str], tmp_path: Path
) -> None:
    server, url = api
    uninstall(url, tmp_path)

    (query,) = {q["labelSelector"][0] for _, path, q, _ in server.asked if path == PODS}
    assert set(query.split(",")) == {
        "app.kubernetes.io/name=barograph",
        "app.kubernetes.io/instance=demo",
        "app.kubernetes.io/component=task",
    }


def test_what_is_still_there_when_the_time_is_over_is_named(
    api: tuple[ApiServer, str], tmp_path: Path
) -> None:
    server, url = api
    server.left[JOBS] = [f"slow-{number}" for number in range(50)]

    done = uninstall(url, tmp_path, wait_s="2")

    assert done.returncode == 1
    assert "jobs still there: slow-" in done.stderr


def test_pods_of_jobs_that_went_before_are_waited_for(
    api: tuple[ApiServer, str], tmp_path: Path
) -> None:
    server, url = api
    server.left[PODS_OF_JOBS] = ["last-1", "last-2"]
    server.going.add(PODS_OF_JOBS)

    done = uninstall(url, tmp_path)

    assert done.returncode == 0, done.stderr
    assert server.left[PODS_OF_JOBS] == []
    (query,) = {q["labelSelector"][0] for _, path, q, _ in server.asked if path == PODS_OF_JOBS}
    assert query == OF_JOBS


def test_without_a_namespace_of_jobs_there_is_nothing_to_do(
    api: tuple[ApiServer, str], tmp_path: Path
) -> None:
    server, url = api
    del server.left[JOBS], server.left[PODS_OF_JOBS]

    done = uninstall(url, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "there were none" in done.stdout


def test_a_refusal_is_told_and_fails(api: tuple[ApiServer, str], tmp_path: Path) -> None:
    server, url = api
    server.refuse = True

    done = uninstall(url, tmp_path)

    assert done.returncode == 1
    assert "403" in done.stderr
    assert "forbidden" in done.stderr


def test_an_api_server_that_is_away_for_a_while_is_asked_again(
    api: tuple[ApiServer, str], tmp_path: Path
) -> None:
    server, url = api
    server.away = 4
    done = uninstall(url, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "503" in done.stdout
    assert "deleted 3 jobs: one, two, three" in done.stdout


def test_an_api_server_that_stays_away_is_named_when_the_time_is_over(tmp_path: Path) -> None:
    done = uninstall("http://127.0.0.1:9", tmp_path, wait_s="1")

    assert done.returncode == 1
    assert "refused" in done.stderr
    assert "Traceback" not in done.stderr
