"""Tests of what `helm test` runs, against the whole platform on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from shared import traces
from shared.embedded.process import LOOPBACK, free_ports
from shared.embedded.stack import Stack
from tests.chart.rendering import named, render
from tests.collector import Collector, Seen
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


def helm_test(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    pod = named(render(), "Pod", "test")
    script = Path("charts/barograph/files", Path(pod["spec"]["containers"][0]["command"][1]).name)
    told = {each["name"] for each in pod["spec"]["containers"][0]["env"]}
    assert set(environment) <= told, "the pod gives it nothing else"
    return subprocess.run(
        [sys.executable, script],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def job_is_one_trace(collector: Collector, job_id: str) -> None:
    """From its submit to its end, whichever service told of it."""
    whole = traces.of_job(job_id)

    def seen() -> dict[str, Seen]:
        return {each.name: each for each in collector.trace(whole.trace_id)}

    wanted = {"process job.submit", "process pod.started", "process pod.exited", "running"}
    wanted |= {"process job.succeeded", "program of worker-0"}
    eventually(lambda: wanted <= seen().keys(), f"{wanted} in the trace of {job_id}")
    (root,) = [each for each in seen().values() if not each.parent_id]
    assert (root.span_id, root.attributes["barograph.job.state"]) == (whole.span_id, "succeeded")
    assert "process pod.reported" not in seen(), "a heartbeat is no span"


def alert_is_one_trace(collector: Collector, host: str) -> None:
    """From the sample that came in to the healer that heard of it."""

    def seen() -> dict[str, Seen]:
        for told in collector.spans:
            if host in str(told.attributes.get("barograph.subject")):
                found = {each.name: each for each in collector.trace(told.trace_id)}
                if "process anomaly.detected" in found:
                    return found
        return {}

    way = ["take samples", "process samples", "process anomaly.detected"]
    spans = eventually(seen, f"a trace of what happened on {host}")
    known = {each.span_id for each in collector.spans}
    assert [name for name in way if spans[name].parent_id not in known] == ["take samples"]


def test_it_sees_a_job_through_and_an_alert_come_and_go(
    stack: Stack, stack_collector: Collector
) -> None:
    done = helm_test(
        {
            "BAROGRAPH_URL": stack.file.client_url,
            "BAROGRAPH_TOKEN": stack.file.client_token,
            "BROKER_URL": stack.file.broker_urls["outside"],
            "HOST": "node-1.example",
            "WAIT_S": "180",
        }
    )

    assert done.returncode == 0, done.stdout + done.stderr
    job, firing, resolved = done.stdout.splitlines()
    assert "succeeded; its log is kept: the job ran, on" in job
    assert "is firing: node-1.example df.bytes.used.percent" in firing
    assert resolved.split(":")[0] == firing.split(":")[0].replace("firing", "resolved")
    left = httpx.get(
        f"{stack.file.client_url}/api/v1/jobs",
        params={"state": "succeeded"},
        headers={"Authorization": f"Bearer {stack.file.client_token}"},
        timeout=60,
    )
    assert left.status_code == 200
    assert "helm-test" not in left.text, "it tidies up"
    job_is_one_trace(stack_collector, job.split()[1])
    alert_is_one_trace(stack_collector, "node-1.example")


def test_without_a_broker_user_for_outsiders_it_says_what_it_leaves_out(stack: Stack) -> None:
    file = stack.file
    done = helm_test({"BAROGRAPH_URL": file.client_url, "BAROGRAPH_TOKEN": file.client_token})

    assert done.returncode == 0, done.stdout + done.stderr
    assert "no broker URL under the key `outside`" in done.stdout


def test_it_fails_and_says_where_when_nobody_answers() -> None:
    done = helm_test({"BAROGRAPH_URL": f"http://{LOOPBACK}:{free_ports(1)[0]}"})

    assert done.returncode == 1
    assert "tshell submit: 3" in done.stderr
