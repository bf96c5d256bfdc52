"""The figures of a replay, by item and in all."""

from __future__ import annotations

from functools import reduce
from typing import Any

from replay.course import ItemOutcome, Outcome
from services.predictor.ledger import Score

_HOUR_MS = 3_600_000


def figures(outcome: Outcome) -> dict[str, Any]:
    """The figures, by item and in all; a share is None where nothing could be counted."""
    weeks = outcome.machine_weeks
    nothing, unscored = ItemOutcome(), Score()
    items = {
        name: _figures(outcome.items.get(name, nothing), outcome.ledger.get(name, unscored), weeks)
        for name in sorted({*outcome.items, *outcome.ledger})
    }
    seen = reduce(ItemOutcome.plus, outcome.items.values(), nothing)
    score = reduce(Score.plus, outcome.ledger.values(), unscored)
    return {
        "machines": outcome.machines,
        "series": outcome.series,
        "samples": outcome.samples,
        "days": (outcome.end_ms - outcome.begin_ms) / 86_400_000,
        "items": items,
        "all": _figures(seen, score, weeks),
    }


def _figures(seen: ItemOutcome, score: Score, machine_weeks: float) -> dict[str, Any]:
    return {
        "alarms_without": seen.alarms,
        "alarms_with": seen.alarms - seen.handled,
        "mailed_in_time": seen.mailed,
        "reduction": _share(seen.handled, seen.alarms),
        "accuracy": score.accuracy,
        "missed_rate": _share(seen.alarms - seen.announced, seen.alarms),
        "false": score.false,
        "false_per_machine_week": _share(score.false, machine_weeks),
        "lead_hours": _share(seen.lead_ms / _HOUR_MS, seen.announced),
        "coverage": score.coverage,
        "brier": score.brier,
        "brier_skill": score.brier_skill,
        "anomalies": seen.anomalies,
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
