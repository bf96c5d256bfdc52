"""What tshell draws: the reason and next step, ends in words, sums and shares; no server."""

from __future__ import annotations

from typing import Any

import pytest

from services.client.spans import span
from services.client.tshell import shown
from shared.contracts import JobFailed, JobPending, JobPlanned, JobRetrying, PlannedRole, Resources
from tests.unit.client.test_api import NOW, Desk, event
from tests.unit.client.test_description import ONE, desk_with_a_cluster, exited, hear, started

desk = pytest.fixture(desk_with_a_cluster, name="desk")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def described(desk: Desk) -> dict[str, Any]:
    return desk.call("GET", "/api/v1/jobs/a/description").json()


def test_what_keeps_a_job_stands_above_all_with_the_next_step(
    desk: Desk,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = {"cause": "quota", "advice": "have it raised", "members": ("worker-0",)}
    hear(desk, event(JobPending, 2, "starting", reason="quota is used up", **fields))
    shown.description(described(desk))
    text = printed(capsys)
    assert "pending for" in text
    assert text.index("have it raised") < text.index("member")
    assert "concerns worker-0" in text
    shown.jobs(desk.call("GET", "/api/v1/jobs").json()["jobs"])
    assert "quota is used up. have it raised" in printed(capsys)


def test_replacements_are_counted_against_the_budget_of_their_own_class(
    desk: Desk,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = {"attempt": 2, "failure_class": "preemption", "member": "worker-0"}
    hear(desk, event(JobRetrying, 2, "retrying", **lost))
    shown.description(described(desk))
    told = (
        "attempt 2; replaced: 0 of 3 for infrastructure, 1 of 30 for preemption, 0 of 1 for unknown"
    )
    assert told in printed(capsys)
    page = desk.call("GET", "/jobs/a").text
    assert "members replaced after preemptions: 1 of at most 30" in page
    assert page.count("members replaced") == 1, "what never happened is not listed"


def test_a_failed_members_end_and_last_lines_are_shown(
    desk: Desk,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hear(desk, started(ONE, 1), exited(ONE, 2, 137, last_lines=("before", "[the end]")))
    hear(desk, event(JobFailed, 2, "failed", failure_class="unknown", member="worker-0"))
    shown.description(described(desk))
    text = printed(capsys)
    assert "exit code 137 (SIGKILL)" in text
    assert "last lines of worker-0" in text
    assert "[the end]" in text, "what a program prints is no markup"
    assert "failure class unknown of worker-0" in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fits_now": True}, "it could start now"),
        ({"fits_now": False, "waiting_reason": "waits behind job x"}, "wait: waits behind job x"),
        ({}, "whether it fits now is unknown"),
        (
            {"faults": ({"field": "resources.cpu", "problem": "largest node has 4"},)},
            "refused: resources.cpu: largest node has 4",
        ),
        (
            {"manifests": ({"kind": "Job", "metadata": {"name": "j-ps"}},), "checked": True},
            "objects (checked by the API server): Job/j-ps",
        ),
    ],
)
def test_a_plan_says_what_would_become_of_the_job(
    fields: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = (PlannedRole(role="ps", members=2, resources=Resources(memory="3Gi")),)
    answer = JobPlanned(
        request_id="r",
        runtime="kubernetes",
        roles=roles,
        cpu=2,
        memory_bytes=6 * 2**30,
        at=NOW,
        **fields,
    )
    shown.plan(answer.model_dump(mode="json"), manifests="manifests" in fields)
    text = printed(capsys)
    assert said in text
    assert "cores 2, memory 6144Mi, GPUs 0" in text
    assert ("name: j-ps" in text) == ("manifests" in fields)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"),
        (9.96, "10.0s"),
        (59.9, "59s"),
        (125, "2m05s"),
        (3720, "1h02m"),
        (172_800, "2d0h"),
    ],
)
def test_lengths_of_time_are_short(seconds: float, text: str) -> None:
    assert span(seconds) == text
