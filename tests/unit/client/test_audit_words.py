"""Entries of the audit log as sentences."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from services.client.audit_words import has_sentence, sentence
from shared.contracts import ActionState, RuleState
from shared.topology import ROUTES

HEALER = Path(__file__).parents[3] / "services" / "healer"
_NOTES = {"audit.note", "note", "self._note"}
STATES = {"action": list(ActionState), "rule": list(RuleState)}


def noted() -> set[str]:
    """Every event that the healer's code notes in its audit log, apart from its agents."""
    found: set[str] = set()
    for path in (*HEALER.glob("[!ar]*/*.py"), *HEALER.glob("actions/*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in _NOTES:
                continue
            for each in call.args:
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    found.add(each.value)
                elif isinstance(each, ast.JoinedStr):
                    word = ast.unparse(each.values[0]).strip("'\" ")
                    found |= {f"{word} {state.value}" for state in STATES.get(word, [])}
                elif ast.unparse(each) == "message.TYPE":
                    found |= _of_messages(path)
    return {each for each in found if each}


def _of_messages(path: Path) -> set[str]:
    names = {route.message.__name__: route.message.TYPE for route in ROUTES}
    text = path.read_text()
    handled = {"HealingStop", "HealingResume", "RuleDecide", "AnomalyJudge", "IncidentAcknowledge"}
    return {kind for name, kind in names.items() if name in handled and f": {name}" in text}


def test_every_event_that_the_healer_notes_has_a_sentence() -> None:
    found = noted()
    assert {"decided", "policy", "silence made", "action running", "healing.stop"} <= found
    assert {each for each in found if not has_sentence({"event": each})} == set()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"event": "incident.acknowledge", "by": "Ann"}, "Ann acknowledged cpu.user on h7"),
        ({"event": "anomaly.judge", "by": "Bo"}, "Bo called cpu.user on h7 not an anomaly"),
        (
            {"event": "anomaly.judge", "by": "Bo", "anomaly": True},
            "Bo called cpu.user on h7 an anomaly after all",
        ),
        (
            {"event": "healing.stop", "by": "Ann", "hosts": "*"},
            "Ann stopped healing on all machines",
        ),
        ({"event": "healing.resume", "by": "Ann", "hosts": "w*"}, "Ann resumed healing on w*"),
        (
            {"event": "action verified", "remediation": "clean-logs", "target": "h7"},
            "Clean-logs on h7 helped, for cpu.user on h7",
        ),
        (
            {"event": "silence made", "by": "Ann", "matchers": 'a="b"'},
            'Ann silenced alerts with a="b"',
        ),
        ({"event": "rule accepted", "cause": "a", "effect": "b"}, "The rule a → b was accepted"),
        ({"event": "a later_version's"}, "A later version's"),
        ({}, ""),
    ],
)
def test_an_entry_says_who_did_what(entry: dict[str, Any], words: str) -> None:
    assert sentence(entry, "cpu.user on h7") == words


@pytest.mark.parametrize("decision", [None, "x", [], {}, {"level": 3}, {"level": "automatic"}])
def test_a_decision_of_any_form_is_a_sentence(decision: object) -> None:
    assert sentence({"event": "decided", "decision": decision}, "").startswith("The policy decided")


def test_a_decision_of_which_no_level_is_told_ends_without_a_colon() -> None:
    assert sentence({"event": "decided"}, "cpu on h7") == "The policy decided on cpu on h7"
