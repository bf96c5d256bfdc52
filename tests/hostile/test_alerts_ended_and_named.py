"""An alert of another system is told by its own name, and its end is found whatever its start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from services.healer.incidents.alert_bodies import readable
from services.healer.notify.channels.alertmanager import Alertmanager
from services.healer.notify.channels.base import Tools
from services.healer.notify.render.text import plain
from services.healer.notify.render.title import title
from shared.service import Context
from tests.unit.healer.test_incidents import Desk

NAMES = ("磁盘空间不足", "Высокая загрузка", "CPU > 90%")


def _tell(desk: Desk, name: str, starts_s: float, ends_s: float | None = None) -> None:
    """Post an alert as of the desk's clock: it began and ended so many seconds from now."""
    alert = {
        "labels": {"alertname": name, "instance": "db7:9100", "severity": "critical"},
        "startsAt": (desk.now + timedelta(seconds=starts_s)).isoformat(),
    }
    if ends_s is not None:
        alert["endsAt"] = (desk.now + timedelta(seconds=ends_s)).isoformat()
    (found,), faults = readable([alert])
    assert not faults
    with desk.store.transaction() as kept:
        context, holds = Context(desk.now, "", 1, kept), timedelta(seconds=300)
        list(desk.handlers.outside_alerts([found], holds, context))


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_is_told_by_its_own_name_wherever_it_is_told(name: str) -> None:
    desk = Desk(group_wait_s=5)
    _tell(desk, name, -5)
    desk.later(6)
    (mail,) = desk.mails()
    assert title(mail).startswith(f"[critical] alarm: {name} on db7")
    assert f"{name} on db7 has been firing" in plain(mail)
    channel = Alertmanager(name="am", url="http://127.0.0.1:9/x")
    (sent,) = channel.body(mail, Tools(page_url="http://page"))["alerts"]
    assert sent["labels"]["alertname"] == name


def _ended(desk: Desk) -> list[str]:
    desk.later(60)
    return [title(mail) for mail in desk.mails() if mail.kind == "resolved"]


@pytest.mark.parametrize("again", [lambda _: None, lambda desk: _tell(desk, NAMES[0], -1)])
def test_an_end_ends_its_alert_though_its_sender_gives_another_start_each_time(
    again: Callable[[Desk], None],
) -> None:
    desk = Desk(group_wait_s=5)
    for name in NAMES:
        _tell(desk, name, -5)
    desk.later(10)
    again(desk)
    desk.later(10)
    _tell(desk, NAMES[0], -5, -1)
    (end,) = _ended(desk)
    assert f"resolved: {NAMES[0]} on db7" in end


def test_a_late_end_does_not_end_what_began_after_it() -> None:
    desk = Desk(group_wait_s=5)
    _tell(desk, NAMES[0], -5)
    desk.later(60)
    _tell(desk, NAMES[0], -400, -100)
    assert _ended(desk) == []
