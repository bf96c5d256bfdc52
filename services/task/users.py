"""The users under which programs run on this machine: one per job, never root.

Ids come from records, not from the job's id: whoever chooses the job's id must not choose the user.
A user id is in use until nothing of its job is left, and then it is the last to be used again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from collections.abc import Collection as AnyCollection
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from services.task.runtime import RuntimeUnavailable
from shared.service import ServiceUnit
from shared.store import Collection

Unit = Callable[[], AbstractContextManager[ServiceUnit]]
_PROBE = """
import os, sys, sysconfig
os.listdir(sysconfig.get_path("purelib"))
for place in sys.argv[1:]:
    os.stat(os.path.join(place, "."))
"""
_PROBE_S = 60.0


class _User(BaseModel):
    """A number and the job that has it."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    uid: int


class _Newest(BaseModel):
    """The id that was assigned last."""

    model_config = ConfigDict(frozen=True)

    key: str = "newest"
    uid: int


USERS = Collection("users", _User, key=lambda r: r.job_id)
_NEWEST_USER = Collection("newest-user", _Newest, key=lambda r: r.key)


class Users:
    """Assigns user ids to jobs.

    Args:
        first: the lowest id.
        count: how many there are.
        unit: one transaction of the service.
        occupied: ids that own something on this machine, whatever the records say.
    """

    def __init__(
        self, first: int, count: int, unit: Unit, occupied: Callable[[], AnyCollection[int]]
    ) -> None:
        self._numbers = range(first, first + count)
        self._unit, self._occupied = unit, occupied

    def of(self, job_id: str) -> int:
        """The job's user; a new one for a new job.

        Raises:
            RuntimeUnavailable: when all are in use.
        """
        with self._unit() as unit:
            known = unit.records.get(USERS, job_id)
            if known is not None:
                return known.uid
            taken = {user.uid for user in unit.records.find(USERS, limit=len(self._numbers) + 1)}
            newest = unit.records.get(_NEWEST_USER, "newest")
            uid = self._next(newest.uid if newest else None, taken | set(self._occupied()))
            unit.records.put(USERS, _User(job_id=job_id, uid=uid))
            unit.records.put(_NEWEST_USER, _Newest(uid=uid))
            return uid

    def known(self, job_id: str) -> int | None:
        """The job's user, if it has one."""
        with self._unit() as unit:
            user = unit.records.get(USERS, job_id)
            return None if user is None else user.uid

    def release(self, job_id: str) -> None:
        """Release the job's id, because nothing of the job is left."""
        with self._unit() as unit:
            unit.records.delete(USERS, job_id)

    def _next(self, newest: int | None, taken: set[int]) -> int:
        after = self._numbers.start if newest is None else newest + 1
        later = [number for number in self._numbers if number >= after]
        for number in later + list(self._numbers):
            if number not in taken:
                return number
        raise RuntimeUnavailable(f"all {len(self._numbers)} users for jobs are in use")


class Ground:
    """Checks whether a program could work here as a user who owns nothing.

    Asked before a job is accepted; what worked once is not tried again.
    """

    def __init__(self, uid: int, places: Sequence[Path]) -> None:
        self._uid, self._places = uid, places
        self._works = os.geteuid() != 0

    def problem(self) -> str:
        """The obstacle and what to do about it; '' when there is none."""
        if self._works:
            return ""
        problem = self._tried()
        self._works = not problem
        if not problem:
            return ""
        return (
            f"a program never runs as root here, and user {self._uid} cannot work on this machine"
            f" ({problem}): let other users pass to the interpreter and to the jobs' directory"
            " (BAROGRAPH_TASK_JOBS_DIR), choose numbers this machine knows"
            " (BAROGRAPH_TASK_FIRST_UID), or start the platform as an ordinary user"
        )

    def _tried(self) -> str:
        command = [sys.executable, "-I", "-c", _PROBE, *map(str, self._places)]
        try:
            done = subprocess.run(
                command,
                user=self._uid,
                group=self._uid,
                extra_groups=[],
                cwd="/",
                env={},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PROBE_S,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return f"{sys.executable}: {error}"
        if done.returncode == 0:
            return ""
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
