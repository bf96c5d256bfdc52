"""The progress of a program, as its own log reports it; pure.

A line ``BAROGRAPH_PROGRESS 300/1000`` counts, or ``BAROGRAPH_PROGRESS 30%``, each perhaps with
words behind it, and Keras' ``Epoch 3/10``, with which the third of ten begins.
"""

from __future__ import annotations

import math
import re

from pydantic import AwareDatetime, BaseModel, ConfigDict, computed_field

from shared.contracts import Member, Role

_SAID = "BAROGRAPH_PROGRESS"
_NUMBER = r"\d{1,15}(?:\.\d{1,6})?"
_LINE = re.compile(
    rf"{_SAID} +(?:(?P<done>{_NUMBER}) ?/ ?(?P<total>{_NUMBER})|(?P<percent>{_NUMBER}) ?%)"
    r"(?P<text>(?:\s[^\r\n]*)?)"
)
_EPOCH = re.compile(r"Epoch (?P<epoch>\d{1,9})/(?P<epochs>\d{1,9})\s*")
_MAX_TEXT = 120
_ROLES = list(Role)


class Step(BaseModel):
    """The progress that one line reports."""

    model_config = ConfigDict(frozen=True)

    done: float
    total: float
    text: str = ""


class Progress(BaseModel):
    """The progress of a job: the latest report of the first member that reports any."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    role: Role
    index: int
    incarnation: int
    done: float
    total: float
    text: str = ""
    """The text that the program printed after the numbers."""
    at: AwareDatetime
    first_done: float
    first_at: AwareDatetime
    """The time of this incarnation's first report; with ``first_done``, the speed's starting
    point."""

    @computed_field
    @property
    def percent(self) -> float:
        """The share of the whole, 0 to 100."""
        return round(100 * self.done / self.total, 1)

    @computed_field
    @property
    def remaining_s(self) -> float | None:
        """The estimated remaining time at the speed so far; None while unknown."""
        seconds = (self.at - self.first_at).total_seconds()
        advanced = self.done - self.first_done
        if seconds <= 0 or advanced <= 0:
            return None
        return round((self.total - self.done) * seconds / advanced, 1)


def last_step(text: str) -> Step | None:
    """The progress reported by the last whole line of a log piece that reports any."""
    if _SAID not in text and "Epoch " not in text:
        return None
    *lines, _unfinished = text.split("\n")
    for line in reversed(lines):
        step = _step(line.rpartition("\r")[2] if not line.endswith("\r") else line[:-1])
        if step is not None:
            return step
    return None


def advanced(
    known: Progress | None, job_id: str, member: Member, step: Step, at: AwareDatetime
) -> Progress | None:
    """The job's progress after a member's report; None if it changes nothing.

    Workers progress alike, so the first member of the job that reports counts.
    """
    if known is not None:
        own, other = _rank(member.role, member.index), _rank(known.role, known.index)
        older = member.incarnation < known.incarnation or at < known.at
        if other < own or (other == own and older):
            return None
    begun = known is None or _anew(known, member, step)
    return Progress(
        job_id=job_id,
        role=member.role,
        index=member.index,
        incarnation=member.incarnation,
        done=step.done,
        total=step.total,
        text=step.text,
        at=at,
        first_done=step.done if begun or known is None else known.first_done,
        first_at=at if begun or known is None else known.first_at,
    )


def _anew(known: Progress, member: Member, step: Step) -> bool:
    same = (known.role, known.index, known.incarnation) == (
        member.role,
        member.index,
        member.incarnation,
    )
    return not same or step.done < known.done or step.total != known.total


def _rank(role: Role, index: int) -> tuple[int, int]:
    return _ROLES.index(role), index


def _step(line: str) -> Step | None:
    if found := _LINE.fullmatch(line.strip()):
        done, total = found["done"] or found["percent"], found["total"] or "100"
        text = "".join(c for c in found["text"].strip() if c.isprintable())[:_MAX_TEXT]
        return _usable(float(done), float(total), text)
    if found := _EPOCH.fullmatch(line.strip()):
        return _usable(float(found["epoch"]) - 1, float(found["epochs"]), f"epoch {found['epoch']}")
    return None


def _usable(done: float, total: float, text: str) -> Step | None:
    usable = math.isfinite(total) and total > 0 and 0 <= done <= total
    return Step(done=done, total=total, text=text) if usable else None
