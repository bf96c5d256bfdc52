"""Suggests the right name for an unknown or old setting."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from shared.validation import problem_of


class SettingsError(Exception):
    """The settings are not usable; the text names every fault."""


RENAMED = {
    "least": "min_severity",
    "least_points": "min_points",
    "longest_interval_s": "max_interval_s",
    "most": ("max_processes", "max_replicas"),
    "most_clock_step_s": "max_clock_step_s",
    "most_files": "max_files",
    "most_gib": "max_gib",
    "most_series": "max_series",
}
"""Names of earlier versions, and what they are called now."""
REMOVED = {
    "combination": ("seasonal_naive", "it is gone: all forecasters named are combined by weight"),
    "doubt": ("preference", "it is gone: preference says how forecasters are weighed"),
}
"""Names that mean nothing any more: a name beside which they stood, and what there is instead."""
OF_COMMANDS = frozenset({"BAROGRAPH_HEALER_URL", "BAROGRAPH_HEALER_TOKEN"})
"""Variables of `barograph`'s own options that begin as a service's: where they are exported, a
service that starts there is not meant."""


def meant(name: str, names: Iterable[str], prefix: str = "") -> str:
    """The end of a fault's sentence: what a name is called now, or which one is like it.

    >>> meant("least", ["name", "min_severity"])
    '; it is called min_severity now'
    >>> meant("nmae", ["name", "min_severity"])
    '; is name meant?'
    >>> meant("doubt", ["preference"])
    '; it is gone: preference says how forecasters are weighed'
    >>> meant("colour", ["name", "min_severity"])
    ''
    """
    known = list(names)
    now = RENAMED.get(name, ())
    for new in (now,) if isinstance(now, str) else now:
        if new in known:
            return f"; it is called {_shown(prefix, new)} now"
    beside, instead = REMOVED.get(name, ("", ""))
    if beside in known:
        return f"; {instead}"
    close = difflib.get_close_matches(name, known, n=1)
    return f"; is {_shown(prefix, close[0])} meant?" if close else ""


def _shown(prefix: str, name: str) -> str:
    return f"{prefix}{name.upper()}" if prefix else name


def fault(model: type[BaseModel], place: Sequence[int | str], problem: str) -> str:
    """A problem that pydantic found in ``model``; of an unknown name it says which was meant."""
    if not problem.startswith("Extra inputs are not permitted") or not place:
        return problem
    within = _model_at(model, place[:-1])
    return f"no such setting{meant(str(place[-1]), within.model_fields) if within else ''}"


def faults(model: type[BaseModel], error: ValidationError) -> list[str]:
    """One line for each fault that pydantic found in values for ``model``."""
    return [
        ": ".join(filter(None, (".".join(map(str, loc)), fault(model, loc, problem_of(each)))))
        for each in error.errors(include_url=False)
        for loc in [each["loc"]]
    ]


def _model_at(model: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel] | None:
    annotation: Any = model
    for part in place:
        found = _models(annotation)
        fields = found[0].model_fields if found else {}
        if str(part) in fields:
            annotation = fields[str(part)].annotation
        elif not re.fullmatch(r"\d+", str(part)) and not get_args(annotation):
            return None
    found = _models(annotation)
    return found[0] if found else None


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type is, or holds as elements of lists, maps and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models(each)]
