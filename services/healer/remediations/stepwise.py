"""Remediations as an inspection, a pure plan, and steps that are executed one by one.

``applies`` says whether it can help at all, ``look`` reads the present state, ``plan`` is a pure
function from that to steps, ``perform`` does one of them, ``happened`` says whether it was done,
and ``undo`` reverses it where that is possible.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Generic, TypeVar

from services.healer.remediations.base import (
    Journal,
    Outcome,
    Remediation,
    Step,
    StepFailed,
    Stopped,
)
from shared.contracts import SeriesRef
from shared.contracts.remediation import RemediationStep


class NotApplicable(Exception):
    """The remediation can do nothing about this series here; the text says why."""


Seen = TypeVar("Seen")


class Stepwise(Remediation, Generic[Seen]):
    """A remediation as an inspection, a pure plan, and steps that are executed one by one."""

    @abstractmethod
    def applies(self, series: SeriesRef) -> str:
        """Empty when it can help with such a series, else why not; reads settings only."""

    @abstractmethod
    def look(self, series: SeriesRef) -> Seen:
        """Read what the plan depends on; changes nothing. Raises NotApplicable, OSError."""

    @abstractmethod
    def plan(self, series: SeriesRef, seen: Seen) -> tuple[list[Step], str]:
        """The steps to be done, in order, and what must be said about them. Pure."""

    @abstractmethod
    def perform(self, step: Step) -> None:
        """Do one step, if its target is still what it was. Idempotent.

        Raises StepFailed or OSError when it was not done.
        """

    def run(
        self,
        series: SeriesRef,
        *,
        dry_run: bool,
        journal: Journal,
        only: Collection[str] | None = None,
    ) -> Outcome:
        """Plan, then do the steps."""
        refusal = self.applies(series)
        if refusal:
            return Outcome(False, (), refusal)
        try:
            steps, detail = self.plan(series, self.look(series))
        except NotApplicable as error:
            return Outcome(False, (), str(error))
        chosen = [step for step in steps if only is None or step.identity in only]
        left = len(steps) - len(chosen)
        notes = [detail] if detail else []
        if left:
            notes.append(f"{left} step(s) were not part of what was approved")
        if dry_run:
            return Outcome(True, tuple(step.reported() for step in chosen), "; ".join(notes))
        return self._do(chosen, notes, journal)

    def go_on(
        self,
        series: SeriesRef,
        done: Collection[tuple[str, str]],
        *,
        journal: Journal,
        only: Collection[str] | None = None,
    ) -> Outcome:
        """Plan again, and do the steps that were not done to these targets before.

        What was restarted or scaled looks as if it could be once more: it must not be.
        """
        try:
            steps, detail = self.plan(series, self.look(series))
        except NotApplicable as error:
            return Outcome(bool(done), (), str(error))  # gone: what was done to it stands
        left = [
            step
            for step in steps
            if not step.is_among(done) and (only is None or step.identity in only)
        ]
        return self._do(left, [detail] if detail else [], journal)

    def _do(self, steps: list[Step], notes: list[str], journal: Journal) -> Outcome:
        done: list[RemediationStep] = []
        for step in steps:
            try:
                journal.intend(step)
            except Stopped as stopped:
                notes.append(f"stopped after {len(done)} of {len(steps)} steps: by {stopped}")
                return Outcome(False, tuple(done), "; ".join(notes))
            try:
                self.perform(step)
            except (StepFailed, OSError) as error:
                why = str(getattr(error, "strerror", None) or error)
                journal.failed(step, why)
                done.append(step.reported(why))
            else:
                journal.done(step)
                done.append(step.reported())
        failed = sum(bool(step.error) for step in done)
        return Outcome(not done or failed < len(done), tuple(done), "; ".join(notes))
