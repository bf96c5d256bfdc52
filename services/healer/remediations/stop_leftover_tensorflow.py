"""Ends TensorFlow processes that a job has left behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.healer.remediations.base import Step, remediation
from services.healer.remediations.runaway import named
from services.healer.remediations.running import Process, Programs, end, lives, processes
from services.healer.remediations.stepwise import Stepwise
from shared.contracts import SeriesRef

_TASK = re.compile(r"^--?job_name[= ]?(ps|worker|evaluator)?$")
_ENDLESS = frozenset({"ps", "worker", "evaluator"})
"""Kinds of task that never end by themselves."""

Seen = list[tuple[Process, str]]


@remediation("stop-leftover-tensorflow")
class StopLeftoverTensorflow(Programs, Stepwise[Seen]):
    """Terminates orphaned ps, worker and evaluator processes.

    A process is recognised by ``TF_CONFIG`` in its environment or ``--job_name`` among its
    arguments. It counts as left over when it was adopted by init and is old enough.
    """

    SETTLE_S: ClassVar[float] = 5
    HELPS: ClassVar[str] = "any item; meant for cpu, load and memory"
    RISKS: ClassVar[tuple[str, ...]] = (
        (
            "A TensorFlow job that was started by hand with nohup looks the same: allow only "
            "programs and users whose jobs run through a scheduler."
        ),
        "Reading another user's environment needs root; without it, only arguments are checked.",
    )

    min_age_s: float = Field(
        default=300, ge=0, description="A process that was started more recently is left alone."
    )
    grace_s: float = Field(default=10, ge=0, description="The seconds between SIGTERM and SIGKILL.")
    adopters: tuple[int, ...] = Field(
        default=(1,),
        description="The ids of processes that adopt orphans: init, and the first process of a "
        "container.",
    )

    def applies(self, series: SeriesRef) -> str:
        return "" if self.programs else "no program is allow-listed on this machine"

    def look(self, series: SeriesRef) -> Seen:
        return [(p, task(p)) for p in processes() if self.allows(p)]

    def plan(self, series: SeriesRef, seen: Seen) -> tuple[list[Step], str]:
        steps = [
            Step(
                "kill",
                f"{kind} {named(process)}",
                identity=process.identity,
                diff=f"left behind for {process.age_s:.0f} s -> ended",
                command=f"kill -TERM {process.pid}",
            )
            for process, kind in sorted(seen, key=lambda found: -found[0].rss)
            if kind in _ENDLESS
            and process.parent in self.adopters
            and process.age_s >= self.min_age_s
        ]
        return steps, "" if steps else "no TensorFlow process was left behind"

    def perform(self, step: Step) -> None:
        end(step.identity, self.grace_s)

    def happened(self, step: Step) -> bool:
        return not lives(step.identity)


def task(process: Process) -> str:
    """ps, worker, chief ... for a member of a TensorFlow cluster; empty for anything else."""
    for number, word in enumerate(process.arguments):
        found = _TASK.match(word)
        if found:
            following = process.arguments[number + 1 : number + 2]
            return found[1] or (following[0] if following else "")
    try:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        text = next(e for e in environment if e.startswith(b"TF_CONFIG="))
        return str(json.loads(text.partition(b"=")[2])["task"]["type"])
    except (OSError, StopIteration, ValueError, KeyError, TypeError, RecursionError):
        return ""
