"""Each rendering of a notice tells the same story, why its reader got it, and where to go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.healer.model.notice import Notice
from services.healer.notify.channels import Channel, Tools, parse
from services.healer.notify.render.mail import build
from services.healer.notify.render.title import title
from tests.unit.healer.stories import STORIES

RUNBOOK = "https://wiki.example.org/disk?a=1&b=2"
RULE = "rule 2 of the policy (df.* on *) says suggest"
TOOLS = Tools(page_url="https://barograph.example.org/")


def notice() -> Notice:
    told = STORIES["threshold_crossed"]()
    return told.model_copy(update={"runbook_url": RUNBOOK, "rule": RULE})


def channel(**fields: Any) -> Channel:
    (found,) = parse(
        [{"name": "ops", "min_severity": "warning", "only": ['family="disk"']} | fields]
    )
    return found


def rendered(kind: str, told: Notice) -> str:
    """Return what is sent, as one text."""
    address = {"url": "https://hooks.example.org/x"}
    match kind:
        case "mail":
            to = channel(type="mail", to=["a@example.org"])
            mail = build(
                told, "b@example.org", ("a@example.org",), TOOLS.page_url, why=to.why(told)
            )
            return "\n".join(
                part.get_content() for part in mail.walk() if "text" in part.get_content_type()
            )
        case "pagerduty":
            to = channel(type="pagerduty", routing_key="k")
            return json.dumps(list(to.events(told, TOOLS)))
        case _:
            return json.dumps(channel(type=kind, **address).body(told, TOOLS))


@pytest.mark.parametrize("kind", ["mail", "slack", "webhook", "pagerduty", "alertmanager"])
def test_each_rendering_says_why_its_reader_got_it_and_where_to_go_on(kind: str) -> None:
    told = notice()
    text = rendered(kind, told).replace("&amp;", "&").replace("&#34;", '"').replace('\\"', '"')
    assert f'{RULE}; channel ops takes alerts that match family="disk" from warning on.' in text
    assert f"https://barograph.example.org/alerts/{told.incident_id}" in text
    assert RUNBOOK in text
    assert told.opening in text
    for _, sentence in told.story:
        assert sentence in text


def test_alertmanagers_annotations_are_the_narratives() -> None:
    told = notice()
    body = channel(type="alertmanager", url="https://a.example.org").body(told, TOOLS)
    (alert,) = body["alerts"]
    notes = alert["annotations"]
    assert (notes["summary"], notes["runbook_url"]) == (told.opening, RUNBOOK)
    assert notes["description"].count("\n") == len(told.story) - 1
    assert alert["generatorURL"] == f"https://barograph.example.org/alerts/{told.incident_id}"


def test_a_step_of_the_escalation_says_that_nobody_has_answered() -> None:
    told = notice().model_copy(update={"kind": "unanswered"})
    assert (
        channel(type="mail", to=["a@example.org"])
        .why(told)
        .endswith("channel ops is a step of the escalation, and nobody has answered.")
    )


def test_a_subject_is_one_line_whatever_the_rule_is_called() -> None:
    told = notice().model_copy(update={"rule": "a\r\nBcc: x@example.org"})
    mail = build(told, "b@example.org", ("a@example.org",), why=f"{told.rule}; more.")
    assert mail["Bcc"] is None
    assert mail["Subject"] == title(told)
