"""The kind of an anomaly: what old messages mean, and what rules make of it."""

from __future__ import annotations

import pytest

from services.healer.model.decision import Facts
from services.healer.model.policy import Policy
from shared.contracts.alerts import AnomalyKind, SeriesRef, Severity, Vote
from shared.contracts.healing import Level

_SERIES = SeriesRef(host="web1", item="load.1")


def test_a_vote_from_before_there_were_kinds_is_of_kind_other() -> None:
    vote = Vote.model_validate({"detector": "surprise", "judged": True, "anomalous": True})
    assert vote.kind is AnomalyKind.OTHER


@pytest.mark.parametrize("kind", AnomalyKind)
def test_a_rule_holds_only_for_the_kinds_it_names(kind: AnomalyKind) -> None:
    policy = Policy.model_validate(
        {
            "rules": [
                {"level": "observe", "kinds": ["dip", "level_down"]},
                {"level": "automatic", "remediation": "clean_logs", "min_severity": "info"},
            ]
        }
    )
    decided = policy.decide(_SERIES, Severity.WARNING, Facts(kind=kind))
    fallen = kind in (AnomalyKind.DIP, AnomalyKind.LEVEL_DOWN)
    assert decided.level is (Level.OBSERVE if fallen else Level.AUTOMATIC)


def test_facts_of_an_older_audit_are_replayed_as_kind_other() -> None:
    assert Facts.model_validate({"storm": False}).kind is AnomalyKind.OTHER


def test_an_unknown_kind_in_a_rule_is_named() -> None:
    with pytest.raises(ValueError, match="wobble"):
        Policy.model_validate({"rules": [{"level": "observe", "kinds": ["wobble"]}]})
