"""Lowers the priority of the allow-listed process that uses the CPU."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.healer.remediations.base import Step, remediation
from services.healer.remediations.runaway import Runaway, Usage, named
from services.healer.remediations.running import lives, read, set_nice
from shared.contracts import SeriesRef


@remediation("renice-runaway")
class ReniceRunaway(Runaway):
    """Raises the niceness of the worst allow-listed process; nothing is ended."""

    SETTLE_S: ClassVar[float] = 5
    UNDOABLE: ClassVar[bool] = True
    HELPS: ClassVar[str] = "items of the families cpu, load and memory"
    RISKS: ClassVar[tuple[str, ...]] = (
        (
            "cpu.idle stays low as long as the process has work: others get the CPU, the item "
            "does not recover, and the change is taken back. Choose it for load, "
            "not for cpu.idle."
        ),
        "Lowering it again needs root.",
    )

    nice: int = Field(
        default=10, ge=1, le=19, description="The niceness that the process is given."
    )

    def plan(self, series: SeriesRef, seen: list[Usage]) -> tuple[list[Step], str]:
        steps = [
            Step(
                "renice",
                named(usage.process),
                identity=usage.process.identity,
                diff=f"nice {usage.process.nice} -> {self.nice}",
                command=f"renice -n {self.nice} -p {usage.process.pid}",
            )
            for usage, _ in self.chosen(series, seen)
            if usage.process.nice < self.nice
        ]
        return steps, "" if steps else "no allow-listed process uses that much at a lower niceness"

    def perform(self, step: Step) -> None:
        set_nice(step.identity, self.nice)

    def happened(self, step: Step) -> bool:
        process = read(int(step.identity.partition(":")[0])) if lives(step.identity) else None
        return process is None or process.nice >= self.nice

    def undo(self, step: Step) -> None:
        if lives(step.identity):
            set_nice(step.identity, int(step.diff.split()[1]))
