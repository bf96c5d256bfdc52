"""Reports the resource use of the program periodically."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from services.task.launcher.ground import RunningProgram, Usage
from services.task.spec import MemberSpec
from shared.contracts import Message, PodMeasured

FIRST_S = 1.0
EVERY_S = 10.0


class Meter:
    """Measures the running program.

    Args:
        spec: the member.
        program: the run to measure; None while there is none.
        tell: takes what is measured.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        spec: MemberSpec,
        program: Callable[[], RunningProgram | None],
        tell: Callable[[Message], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._program, self._tell, self._clock = spec, program, tell, clock
        self._before: tuple[RunningProgram, float, Usage] | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Measure soon, and then every ten seconds."""
        threading.Thread(target=self._run, name="meter", daemon=True).start()

    def stop(self) -> None:
        """Measure no more."""
        self._stop.set()

    def measure(self) -> None:
        """Report the mean CPU use since the last report, and the memory held now."""
        program, now = self._program(), self._clock()
        used = program.used() if program is not None else None
        before, self._before = self._before, None
        if program is None or used is None:
            return
        self._before = (program, now, used)
        if before is None or before[0] is not program or now <= before[1]:
            return
        # A process that ended takes its seconds with it where nobody waited for it.
        seconds = max(0.0, used.cpu_seconds - before[2].cpu_seconds)
        self._tell(
            PodMeasured(
                job_id=self._spec.job.job_id,
                member=self._spec.member,
                cpu_cores=round(seconds / (now - before[1]), 3),
                memory_bytes=used.memory_bytes,
                at=datetime.now(UTC),
            )
        )

    def _run(self) -> None:
        wait = FIRST_S
        while not self._stop.wait(wait):
            known = self._before is not None
            self.measure()
            wait = EVERY_S if known else FIRST_S
