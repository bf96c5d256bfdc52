"""Incidents and actions go from state to state as the tables say, and no other way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.healer.model.action import OPEN_ACTIONS, Action
from services.healer.model.incident import Incident
from services.healer.model.signal import Observation
from services.healer.model.transitions import (
    PHASES,
    STATES,
    Phase,
    TransitionError,
    collected,
    diagram,
)
from shared.contracts.alerts import AlertState, Severity
from shared.contracts.healing import ActionState, Level
from shared.contracts.message import deterministic_id
from tests.unit.healer.test_incidents import DISK, NOW

SOON = NOW + timedelta(seconds=5)
STEPS: dict[Phase, Callable[[Incident], Incident]] = {
    Phase.EVIDENCE: lambda i: i.awaiting("c", SOON, ("evidence",)),
    Phase.ACTING: lambda i: i.acting("a", "clean-logs", "c", SOON),
    Phase.SETTLING: lambda i: i.settling(SOON),
    Phase.READING: lambda i: i.reading("c", SOON),
    Phase.UNDOING: lambda i: i.undoing("c", SOON),
    Phase.WAITING: lambda i: i.resting(),
    Phase.CLOSED: lambda i: i.closed(NOW, SOON, handled=True, until_ms=0),
}


def an_incident() -> Incident:
    return Incident(
        incident_id=deterministic_id("incident", 1),
        series=DISK,
        family="disk",
        opened_at=NOW,
        state=AlertState.FIRING,
        severity=Severity.CRITICAL,
        observation=Observation(value=93.0, threshold=90.0, sentence="full"),
        signals={},
    )


def an_action() -> Action:
    return Action(
        action_id=deterministic_id("action", 1),
        incident_id=deterministic_id("incident", 1),
        series=DISK,
        remediation="clean-logs",
        level=Level.APPROVE,
        target="host1",
    )


@given(st.lists(st.sampled_from(list(Phase)), max_size=12))
def test_an_incident_takes_the_steps_of_its_table_and_refuses_all_others(path: list[Phase]) -> None:
    incident = an_incident()
    for phase in path:
        if phase in PHASES[incident.phase]:
            incident = STEPS[phase](incident)
            assert incident.phase is phase
            Incident.model_validate(incident.model_dump())
        else:
            with pytest.raises(TransitionError, match=f"{incident.phase} -> {phase}"):
                STEPS[phase](incident)


@given(st.lists(st.sampled_from(list(ActionState)), max_size=8))
def test_an_action_takes_the_steps_of_its_table_and_refuses_all_others(path) -> None:
    action = an_action()
    for number, state in enumerate(path):
        if state in STATES[action.state]:
            action = action.becomes(state, "because", SOON)
            assert action.state is state
            Action.model_validate(action.model_dump())
        else:
            with pytest.raises(TransitionError):
                action.becomes(state, f"step {number}", SOON)


def test_every_state_can_be_reached_and_only_ends_have_no_way_out() -> None:
    for table, first in ((PHASES, Phase.WAITING), (STATES, ActionState.PROPOSED)):
        reached, waiting = set(), [first]
        while waiting:
            state = waiting.pop()
            reached.add(state)
            waiting += table[state] - reached
        assert reached == set(table)
    assert [phase for phase, after in PHASES.items() if not after] == [Phase.CLOSED]
    assert {state for state, after in STATES.items() if after} == set(OPEN_ACTIONS)
    assert "acting --> settling" in diagram(PHASES, Phase.WAITING)


def test_what_a_collected_generator_does_is_done_when_it_returns() -> None:
    done = []

    @collected
    def stores():
        done.append("before")
        yield 1
        done.append("after")

    assert stores() == [1]
    assert done == ["before", "after"]
