"""Ends the allow-listed process that uses the CPU or the memory."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.healer.remediations.base import Step, remediation
from services.healer.remediations.runaway import Runaway, Usage, named
from services.healer.remediations.running import end, lives
from shared.contracts import SeriesRef


@remediation("kill-runaway")
class KillRunaway(Runaway):
    """Terminates the worst allow-listed process above the limit: SIGTERM, then SIGKILL.

    A process is known by number and start time and signalled through a descriptor, so a later
    process of the same number is never hit. Init, kernel threads, the agent and what it descends
    from are never touched.
    """

    SETTLE_S: ClassVar[float] = 5
    HELPS: ClassVar[str] = "items of the families cpu, load and memory"
    RISKS: ClassVar[tuple[str, ...]] = (
        "Work that the program had not saved is lost.",
        "A supervisor may start it again at once; then people are notified.",
        "The load may be legitimate work: allow only programs for which it never is.",
    )

    grace_s: float = Field(default=10, ge=0, description="The seconds between SIGTERM and SIGKILL.")

    def plan(self, series: SeriesRef, seen: list[Usage]) -> tuple[list[Step], str]:
        steps = [
            Step(
                "kill",
                named(usage.process),
                identity=usage.process.identity,
                diff=f"running, {used} -> ended",
                command=f"kill -TERM {usage.process.pid}",
            )
            for usage, used in self.chosen(series, seen)
        ]
        return steps, "" if steps else "no allow-listed process uses that much"

    def perform(self, step: Step) -> None:
        end(step.identity, self.grace_s)

    def happened(self, step: Step) -> bool:
        return not lives(step.identity)
