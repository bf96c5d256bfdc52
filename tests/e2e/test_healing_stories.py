"""The healing loop told from end to end: real detector, predictor, healer, agent, broker, SMTP."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.healing import CAPACITY_BYTES, DISK, STEP_S, Machine, link, text_of
from tests.integration.test_agent import begun_to_delete
from tests.troubles import BURN, ended, program, started


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("healing")).running() as running:
        yield running


def test_a_disk_is_cleaned_before_its_alarm_and_filling_again_at_once_is_no_loop(
    machine: Machine,
) -> None:
    volume = str(machine.volumes / "filling")
    rise = range(5, 65)
    machine.remember(machine.volumes / "filling", rise)
    machine.fill("filling", rise[-1])
    began, per_s = time.monotonic(), CAPACITY_BYTES / 100 / STEP_S
    active = (machine.volumes / "filling" / "app.log").open("ab", buffering=0)

    def predicted() -> bool:
        active.truncate(int((time.monotonic() - began) * per_s))
        return bool(machine.said("alarm.predicted", volume))

    with active:
        machine.until(predicted, "the prediction")
    (verified,) = _verified(machine, volume)
    assert verified["effective"]
    assert verified["saved"]
    machine.mail(volume, "is out of danger")
    assert len(machine.mails(volume)) == 1
    # A detector may notice that the disk has become empty; it is no alert of its own.
    changes = machine.said("alert.", volume)
    assert len({event["alert_id"] for event in changes}) == 1
    states = [event["state"] for event in changes]
    assert (states[0], states[-1], "firing" in states) == ("predicted", "resolved", False)

    (score,) = json.loads(machine.barograph("ledger", "--json"))["items"]
    # A disk of the machine that runs this may be full, too: that alarm was not spared.
    spared = score["saved"] / (score["saved"] + score["alarms"])
    assert (score["item"], score["saved"], score["reduction"]) == (DISK, 1, spared)
    assert "1 saved an alarm" in machine.barograph("ledger")

    again = machine.fill("filling", 96)
    told = machine.mail(volume, "needs you:")
    assert "clean-logs did not run again: it ran" in text_of(told)
    assert all(path.exists() for path in again)
    assert len(machine.runs(volume)) == 1


def _verified(machine: Machine, label: str) -> list[dict[str, object]]:
    machine.until(lambda: machine.said("remediation.verified", label), "the verification")
    return machine.said("remediation.verified", label)


def test_a_runaway_is_named_by_the_evidence_and_killed_by_the_link_in_the_mail(
    machine: Machine, tmp_path: Path
) -> None:
    (burner,) = started(tmp_path, [program(tmp_path, "burner"), "-c", BURN])
    try:
        mail = machine.mail("program=burner", "alarm: proc.cpu.used.percent")
        attached = [part.get_content() for part in mail.iter_attachments()]
        rows = [line.split() for line in "".join([*attached, text_of(mail)]).splitlines()]
        assert [str(burner.pid), getpass.getuser()] in [row[:2] for row in rows]
        assert f"kill -TERM {burner.pid}" in text_of(mail)
        approve = link(mail, "Approve")
        asked = httpx.get(approve, trust_env=False, timeout=60)
        assert "Run kill-runaway" in asked.text
        assert f"kill -TERM {burner.pid}" in asked.text
        assert burner.poll() is None, "to look at the link does nothing"
        done = httpx.post(approve, trust_env=False, timeout=60)
        assert "is running" in done.text
        assert burner.wait(60) == -signal.SIGTERM
        again = httpx.post(approve, trust_env=False, timeout=60)
        assert again.status_code == 410, again.text
    finally:
        ended([burner])()
    (verified,) = _verified(machine, "burner")
    assert verified["effective"]
    told = machine.mail("program=burner", "is out of danger")
    assert "kill-runaway was approved by oncall@localhost." in text_of(told)
    assert told["In-Reply-To"] == mail["Message-ID"]
    assert len(machine.runs("burner")) == 1


def test_what_nobody_approves_in_time_is_not_done_and_told_again(machine: Machine) -> None:
    volume = str(machine.volumes / "undecided")
    logs = machine.fill("undecided", 95)
    approve = link(machine.mail(volume, "alarm: df.bytes.used.percent"), "Approve")
    (alert,) = {event["alert_id"] for event in machine.said("alert.", volume)}
    shown = machine.barograph("show", alert)
    assert f"planned: rm -- {logs[-1]}" in shown
    assert "Biggest directories and files below" in shown
    told = machine.mail(volume, "needs you:")
    assert "The proposal to run clean-logs expired: nobody decided in time." in text_of(told)
    late = httpx.post(approve, trust_env=False, timeout=60)
    assert late.status_code == 410
    assert "it is expired" in late.text
    assert all(path.exists() for path in logs)
    assert machine.runs(volume) == []


def test_the_kill_switch_ends_a_plan_half_way_and_a_person_is_told_by_whom(
    machine: Machine,
) -> None:
    volume = str(machine.volumes / "stopped")
    logs = machine.fill("stopped", 95, files=5000)
    begun_to_delete(logs)
    switches = machine.ask("POST", "healing/stop", {"by": "ann", "reason": "not now"})
    assert [switch["by"] for switch in switches] == ["ann"]
    told = machine.mail(volume, "needs you:")
    assert "by ann (not now)" in text_of(told)
    left = [path for path in logs if path.exists()]
    assert 0 < len(left) < len(logs)
    assert machine.ask("POST", "healing/resume", {"by": "ann"}) == []
    assert len(machine.runs(volume)) == 1


def test_a_healer_killed_after_the_deed_and_before_its_record_repeats_nothing(
    machine: Machine,
) -> None:
    volume = str(machine.volumes / "killed")
    logs = machine.fill("killed", 95, files=1000)
    begun_to_delete(logs)
    os.kill(machine.stack.pid("healer"), signal.SIGSTOP)
    machine.until(lambda: machine.done(volume), "the deed")
    machine.stack.kill9("healer")
    (verified,) = _verified(machine, volume)
    assert verified["effective"]
    machine.mail(volume, "is out of danger")
    assert len(machine.mails(volume)) == 1
    assert len(machine.runs(volume)) == 1
    actions = machine.ask("GET", "actions?state=verified")
    assert [a["series"]["labels"]["mount"] for a in actions if a["series"]["item"] == DISK].count(
        volume
    ) == 1


def test_the_canarys_alarm_comes_and_goes_through_all_of_it_and_pings_the_switch(
    machine: Machine,
) -> None:
    machine.until(lambda: len(machine.switch.pings) > 1, "two rounds of the canary")
    assert {ping["kind"] for ping in machine.switch.pings} == {"canary"}
    assert len({ping["id"] for ping in machine.switch.pings}) == len(machine.switch.pings)
    metrics = httpx.get(
        f"{machine.stack.file.health['healer']}/metrics", trust_env=False, timeout=60
    ).text
    name = "barograph_canary_last_success_timestamp_seconds"
    (seen,) = re.findall(rf"^{name} (\S+)$", metrics, re.MULTILINE)
    assert float(seen) > 0
    assert not [m for m in machine.stack.mailbox.messages() if "canary" in text_of(m)]
