"""Restarts an allow-listed service of the machine."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from services.healer.remediations.base import Step, StepFailed, remediation
from services.healer.remediations.running import read
from services.healer.remediations.stepwise import NotApplicable, Stepwise
from shared.contracts import SeriesRef
from shared.contracts.message import Identifier


class ServiceUnit(BaseModel):
    """One line of the allow-list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Identifier = Field(
        description="The name under which the service manager knows the service."
    )
    items: str = Field(
        default="*", description="A shell pattern of the items against which a restart helps."
    )
    restart: tuple[str, ...] = Field(
        default=(),
        description="The program that restarts the service, and its arguments; empty: systemctl "
        "restart NAME.",
    )
    pid_file: Path | None = Field(
        default=None,
        description="The file that holds the number of the main process; none: systemctl is asked.",
    )
    timeout_s: float = Field(
        default=120, gt=0, description="The longest time, in seconds, that the restart may take."
    )

    @property
    def argv(self) -> list[str]:
        return list(self.restart or ("systemctl", "restart", "--", self.name))

    def main_process(self) -> str:
        """Number and start of its main process; empty while it does not run."""
        if self.pid_file is not None:
            try:
                text = self.pid_file.read_text(encoding="ascii").strip()
            except FileNotFoundError:
                return ""
        else:
            argv = ["systemctl", "show", "--property=MainPID", "--value", "--", self.name]
            text = run(argv, 10)
        process = read(int(text)) if text.isdigit() and int(text) else None
        return process.identity if process else ""


_MAX_OUTPUT = 65_536
Seen = list[tuple[ServiceUnit, str]]


@remediation("restart-service")
class RestartService(Stepwise[Seen]):
    """Restarts the services that are allow-listed for the item, once per plan.

    The main process is part of the plan: if it has changed when the step's turn comes, somebody
    else has restarted it, and the step is done.
    """

    SETTLE_S: ClassVar[float] = 15
    HELPS: ClassVar[str] = "the items that its settings name for each service"
    RISKS: ClassVar[tuple[str, ...]] = (
        "Requests under way are cut off; behind a load balancer drain first.",
        "A service that does not start again is down: verification notices, a person must help.",
        (
            "The command runs with the agent's rights; it is taken from the machine's settings "
            "only, never from a message, and no shell is involved."
        ),
    )

    services: tuple[ServiceUnit, ...] = Field(
        default=(), description="The services that may be restarted."
    )

    def applies(self, series: SeriesRef) -> str:
        return "" if self._fitting(series) else f"no service is allow-listed for {series.item}"

    def look(self, series: SeriesRef) -> Seen:
        try:
            return [(unit, unit.main_process()) for unit in self._fitting(series)]
        except (StepFailed, ValueError) as error:
            raise NotApplicable(f"the service cannot be looked at: {error}") from error

    def plan(self, series: SeriesRef, seen: Seen) -> tuple[list[Step], str]:
        steps = [
            Step(
                "restart",
                unit.name,
                identity=f"{unit.name} {main or 'stopped'}",
                diff=f"process {main.partition(':')[0] or 'none'} -> a new one",
                command=shlex.join(unit.argv),
            )
            for unit, main in seen
        ]
        return steps, ""

    def perform(self, step: Step) -> None:
        unit = self._unit(step)
        if self.happened(step):
            return
        run(unit.argv, unit.timeout_s)
        if not unit.main_process():
            raise StepFailed("it did not come up again")

    def happened(self, step: Step) -> bool:
        main = self._unit(step).main_process()
        return bool(main) and main != step.identity.partition(" ")[2]

    def _fitting(self, series: SeriesRef) -> list[ServiceUnit]:
        return [unit for unit in self.services if fnmatchcase(series.item, unit.items)]

    def _unit(self, step: Step) -> ServiceUnit:
        for unit in self.services:
            if unit.name == step.target:
                return unit
        raise StepFailed(f"{step.target} is no longer allow-listed")


def run(argv: list[str], timeout_s: float) -> str:
    """The program's output; StepFailed says what went wrong."""
    # A file, not a pipe: a service that keeps its starter's output open must not keep us waiting.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise StepFailed(f"there is no program {argv[0]} here") from error
        except subprocess.TimeoutExpired as error:
            raise StepFailed(f"{argv[0]} did not end within {timeout_s:g} s") from error
        output.seek(0)
        said = output.read(_MAX_OUTPUT).decode(errors="replace").strip()
    if done.returncode:
        raise StepFailed(f"{argv[0]} ended with {done.returncode}: {said[-300:]}")
    return said
