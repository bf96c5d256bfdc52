"""A request that changes the cluster, when its thread meets something unforeseen."""

from __future__ import annotations

from structlog.testing import capture_logs

from services.task.runtimes.kubernetes.acts import Acts, Lane


def test_an_act_that_fails_unforeseen_is_logged_and_may_be_asked_for_again() -> None:
    calls: list[str] = []

    def fails() -> None:
        calls.append("called")
        raise KeyError("status")

    with capture_logs() as logged:
        for _ in range(2):
            acts = Acts()
            acts.do(Lane.END, "end of a job", fails)
            acts.close()
            assert not acts.under_way("end of a job")
    assert calls == ["called", "called"]
    assert [entry["event"] for entry in logged] == ["cluster_act_failed"] * 2
