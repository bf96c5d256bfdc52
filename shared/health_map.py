"""The health map: machines by group, verdict, name and term, as people look at them; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict

from shared.contracts import HealthReported

MIN_SHOWN_LOSS = 0.05
"""Points; fewer are shown as none."""


@dataclass(frozen=True)
class Hour:
    """Hourly means of a machine; CPU and memory in percent used, None if unknown."""

    hour: int
    """Hours since 1970."""
    score: float
    cpu: float | None = None
    memory: float | None = None


class MapWanted(BaseModel):
    """The part of the map that is asked for; '' for all."""

    model_config = ConfigDict(frozen=True)

    verdict: str = ""
    search: str = ""
    """A part of the machine's name, in any case."""
    hosts: str = ""
    """The pattern of a group's machines."""
    term: str = ""
    """The machines that lose points by this term, those that lose the most first."""


class MachineOnMap(BaseModel):
    """A machine or a group on the map: its latest report in short."""

    name: str
    score: float
    verdict: str
    trend: float | None
    first: str
    """The thing to fix first; the wanted term's sentence, if one is wanted."""
    lost: float | None = None
    """Points lost by the wanted term; None if none is wanted."""
    machines: int = 1
    """The number of machines in a group."""
    hours: list[Hour] = []
    """The last day, hour by hour."""


class TermOnMap(BaseModel):
    """A term of the scores: how many machines lose points by it, and how many points."""

    name: str
    machines: int
    lost: float


class HealthMap(BaseModel):
    """A page of the health map."""

    machines: list[MachineOnMap]
    verdicts: dict[str, int]
    """The machines of each verdict that match everything but the wanted verdict."""
    terms: list[TermOnMap]
    """The terms by which matching machines lose points, the most costly first."""
    groups: list[MachineOnMap]
    """All groups, the worst first."""
    more: bool


def health_map(
    reports: Iterable[HealthReported],
    groups: Iterable[HealthReported],
    wanted: MapWanted,
    offset: int,
    limit: int,
) -> HealthMap:
    """The wanted machines, the worst first, without their hours."""
    part, hosts = wanted.search.strip().casefold(), wanted.hosts
    matching = [
        report
        for report in reports
        if part in report.name.casefold() and (not hosts or fnmatchcase(report.name, hosts))
    ]
    lost = {r.name: lost_by(r, wanted.term) for r in matching} if wanted.term else {}
    of_term = [r for r in matching if lost[r.name] >= MIN_SHOWN_LOSS] if wanted.term else matching
    listed = [r for r in of_term if wanted.verdict in ("", r.verdict)]
    listed.sort(key=lambda r: (-lost.get(r.name, 0.0), r.score, r.name))
    end = offset + limit
    return HealthMap(
        machines=[_in_short(report, wanted.term) for report in listed[offset:end]],
        verdicts=dict(Counter(report.verdict for report in of_term)),
        terms=_terms(matching),
        groups=[_in_short(group, "") for group in sorted(groups, key=lambda g: (g.score, g.name))],
        more=len(listed) > end,
    )


def with_hours(found: HealthMap, hours: Mapping[str, Sequence[Hour]]) -> HealthMap:
    """The map with the last day of its machines."""
    for machine in found.machines:
        machine.hours = list(hours.get(machine.name, ()))
    return found


def lost_by(report: HealthReported, term: str) -> float:
    """The points that a machine loses by a term; 0 for one that it does not have."""
    return sum(each.lost for each in report.terms if each.name == term)


def _terms(reports: Sequence[HealthReported]) -> list[TermOnMap]:
    machines: Counter[str] = Counter()
    lost: dict[str, float] = {}
    for report in reports:
        for term in report.terms:
            if term.lost >= MIN_SHOWN_LOSS:
                machines[term.name] += 1
                lost[term.name] = lost.get(term.name, 0.0) + term.lost
    order = sorted(machines, key=lambda name: (-lost[name], name))
    return [TermOnMap(name=n, machines=machines[n], lost=round(lost[n], 1)) for n in order]


def _in_short(report: HealthReported, wanted: str) -> MachineOnMap:
    terms = [term for term in report.terms if term.name == wanted]
    return MachineOnMap(
        name=report.name,
        score=report.score,
        verdict=report.verdict,
        trend=report.trend,
        first=terms[0].sentence if terms else report.first,
        lost=round(sum(term.lost for term in terms), 1) if wanted else None,
        machines=report.machines,
    )
