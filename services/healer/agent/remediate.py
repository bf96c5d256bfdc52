"""Executes ``remediation.execute`` with the remediations that this machine allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import structlog

from services.healer.agent.records import Command
from services.healer.remediations import Outcome, Remediation, Step, StepFailed, Stopped
from services.healer.remediations.audit import Book, CommandJournal, intended
from shared.contracts.remediation import RemediationExecute, RemediationExecuted, RemediationStep
from shared.observe import REMEDIATIONS

log = structlog.get_logger(__name__)

_MAX_ATTEMPTS = 3
_LISTED_STEPS = 1000


class Checks(Protocol):
    """Checks before a remediation and between its steps whether it must end."""

    def stopped(self, host: str) -> str:
        """Return who threw the kill switch for this machine, and why; empty when nobody did."""

    def late(self, target: str, fence: int) -> bool:
        """Return whether a newer lease's order for this target was seen."""


class Remediator:
    """Runs the remediations of this machine, with their audit log and answers.

    Args:
        remediations: what may be carried out, by name.
        audit: where every step is noted before it is done.
        clock: what time it is.
        envelope: the kill switch, and fences of leases.
    """

    def __init__(
        self,
        remediations: Mapping[str, Remediation],
        audit: Book,
        clock: Callable[[], datetime],
        envelope: Checks,
    ) -> None:
        self._remediations = remediations
        self._audit = audit
        self._clock = clock
        self._envelope = envelope

    def perform(self, command: Command) -> RemediationExecuted:
        """Carry out the order, or answer why not; what was done before a crash is part of the
        answer.
        """
        message = RemediationExecute.model_validate_json(command.body)
        known = self._remediations.get(message.remediation)
        if known is None:
            names = ", ".join(sorted(self._remediations)) or "none"
            return self._answer(
                message, Outcome(False, (), f"no such remediation on this machine; it has {names}")
            )
        refusal = self._refusal(message, command, known)
        before: tuple[RemediationStep, ...] = ()
        if command.attempts > 1:
            before = self._done_before(message, known, goes_on=not refusal)
        outcome = Outcome(False, (), refusal) if refusal else self._run(message, known, before)
        if before:
            detail = "; ".join(filter(None, (outcome.detail, "went on after an interruption")))
            outcome = Outcome(outcome.succeeded, (*before, *outcome.steps), detail)
        return self._answer(message, outcome)

    def _refusal(self, message: RemediationExecute, command: Command, known: Remediation) -> str:
        stopped = "" if message.dry_run else self._envelope.stopped(message.host)
        if stopped:
            return f"stopped by {stopped}"
        if self._envelope.late(known.target(message.series), message.fence):
            return "a newer order for the same target was seen: this one's lease is over"
        if self._clock() >= message.expires:
            began = "went on with" if command.attempts > 1 else "begun"
            return f"it expired at {message.expires.isoformat()} before it could be {began}"
        if command.attempts > _MAX_ATTEMPTS:
            return f"given up after {_MAX_ATTEMPTS} attempts that did not come to an end"
        return ""

    def _run(
        self, message: RemediationExecute, known: Remediation, before: tuple[RemediationStep, ...]
    ) -> Outcome:
        journal = CommandJournal(
            self._audit,
            message.command_id,
            message.remediation,
            lambda: self._envelope.stopped(message.host),
        )
        try:
            self._mark("begin", message)
            outcome = self._work(
                message, known, journal, {(step.action, step.target) for step in before}
            )
        except OSError as error:
            # The audit cannot be written, for instance; without it nothing may be done.
            return Outcome(False, (), f"stopped: {error}")
        try:
            self._mark("end", message, steps=len(outcome.steps), freed_bytes=outcome.freed_bytes)
        except OSError as error:
            log.warning("audit_failed", error=str(error))
        return outcome

    def _work(
        self,
        message: RemediationExecute,
        known: Remediation,
        journal: CommandJournal,
        done: set[tuple[str, str]],
    ) -> Outcome:
        series, only = message.series, message.only
        if message.undoes is not None:
            return self._undo(message.undoes, known, journal)
        if done:
            return known.go_on(series, done, journal=journal, only=only)
        return known.run(series, dry_run=message.dry_run, journal=journal, only=only)

    def _undo(self, earlier: str, known: Remediation, journal: CommandJournal) -> Outcome:
        """Take back what an earlier command did, the last step first."""
        entries = self._audit.entries(earlier)
        done = [intended(entry) for entry in entries if entry["event"] == "done"]
        steps: list[RemediationStep] = []
        for step in reversed(done):
            back = replace(step, action=f"undo {step.action}", freed_bytes=0)
            try:
                journal.intend(back)
                known.undo(step)
            except Stopped as stopped:
                return Outcome(False, tuple(steps), f"stopped: {stopped}")
            except (StepFailed, OSError) as error:
                why = str(getattr(error, "strerror", None) or error)
                journal.failed(back, why)
                steps.append(back.reported(why))
            else:
                journal.done(back)
                steps.append(back.reported())
        failed = [step for step in steps if step.error]
        detail = failed[0].error if failed else ""
        return Outcome(bool(steps) and not failed, tuple(steps), detail or "nothing to take back")

    def _mark(self, event: str, message: RemediationExecute, **more: int) -> None:
        self._audit.note(
            event,
            command_id=message.command_id,
            incident_id=message.incident_id,
            remediation=message.remediation,
            series=message.series.text(),
            dry_run=message.dry_run,
            **more,
        )

    def _done_before(
        self, message: RemediationExecute, known: Remediation, *, goes_on: bool
    ) -> tuple[RemediationStep, ...]:
        """The steps of an interrupted run, from its audit; the target shows whether an intended one
        was done.
        """
        steps: dict[tuple[str, str], RemediationStep] = {}
        journal = CommandJournal(self._audit, message.command_id, message.remediation)
        unsettled: dict[tuple[str, str], Step] = {}
        for entry in self._audit.entries(message.command_id):
            if entry["event"] not in {"intend", "done", "failed"}:
                continue
            step = intended(entry)
            place = (step.target, step.identity)
            unsettled.pop(place, None)
            if entry["event"] == "intend":
                unsettled[place] = step
            elif entry["event"] == "done":
                steps[place] = step.reported()
        for place, step in unsettled.items():
            if _happened(known, step, certain=goes_on):
                journal.done(step)
                steps[place] = step.reported()
        return tuple(steps.values())

    def _answer(self, message: RemediationExecute, outcome: Outcome) -> RemediationExecuted:
        word = "dry_run" if message.dry_run else "succeeded" if outcome.succeeded else "failed"
        # Only names that are registered become labels, so that their number is bounded.
        name = message.remediation if message.remediation in self._remediations else "unknown"
        REMEDIATIONS.labels(name, word).inc()
        answer = {"outcome": word, "detail": outcome.detail, "audit": self._audit.head}
        log.info("remediation_answered", command_id=message.command_id, **answer)
        return RemediationExecuted(
            command_id=message.command_id,
            incident_id=message.incident_id,
            host=message.host,
            remediation=message.remediation,
            dry_run=message.dry_run,
            succeeded=outcome.succeeded,
            steps=outcome.steps[:_LISTED_STEPS],
            total_steps=len(outcome.steps),
            freed_bytes=outcome.freed_bytes,
            detail=outcome.detail,
            audit=self._audit.head,
            at=self._clock(),
        )


def _happened(known: Remediation, step: Step, *, certain: bool) -> bool:
    """Return whether the step was done.

    With ``certain`` it is an error that this cannot be found out: the step must not be done twice.
    Without it nothing more is done anyway, and a service manager that does not answer must not
    keep back all later commands.
    """
    try:
        return known.happened(step)
    except Exception as error:
        if certain:
            raise
        log.warning("step_outcome_unknown", target=step.target, reason=str(error))
        return False
