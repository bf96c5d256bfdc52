"""The directories of a stack on this machine: its state, and the jobs' work."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shared import trees
from shared.embedded.files import own_directory, write_private
from shared.embedded.process import EmbeddedError

SYSTEM = Path("/var/lib/barograph")
"""The superuser's stack: not below a home that other users may not enter."""
_OPEN = Path("/var/lib/barograph-jobs")
"""The directory for programs that run as their own users, to whom the state is closed."""
_PASSABLE = 0o711
_NOTE = "stack"
"""File that says which stack a directory belongs to."""
_UIDS = 2000
"""The number of users that each stack may give to jobs at once."""
_RANGES = ((1_900_002_000, 10_000), (40_000, 10))
"""First user number and number of stacks: where neither people, system services nor subordinate
ids have theirs; the second for containers that know no more than 65,536 users."""


def default_state(env: Mapping[str, str] = os.environ) -> Path:
    """``BAROGRAPH_STATE``, else ``/var/lib/barograph`` for root, else the user's XDG place."""
    if given := env.get("BAROGRAPH_STATE"):
        return Path(given)
    if os.geteuid() == 0:
        return SYSTEM
    return Path(env.get("XDG_STATE_HOME") or "~/.local/state") / "barograph"


@contextmanager
def alone_with(state: Path) -> Iterator[None]:
    """Lock ``state`` against other supervisors; the lock also ends with a killed process.

    Two brokers and two stores on the same files would destroy them.

    Raises:
        EmbeddedError: another one has it.
    """
    own_directory(state)
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(
                f"another supervisor starts, runs or stops with {state}: wait for it, "
                "or end it with `barograph down`"
            ) from None
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class JobsPlace:
    """The directory a stack's jobs work in, and the users they run as.

    Whoever is not root has no other users to give: then jobs work in the state directory, as the
    user himself. Root's stacks share ``root``, in which each has a directory and a block of user
    numbers, noted there so that no two stacks ever give the same one.
    """

    state: Path
    directory: Path
    root: Path | None = None

    @classmethod
    def of(cls, state: Path, root: Path = _OPEN) -> JobsPlace:
        """The place of the stack in ``state``."""
        if os.geteuid() != 0:
            return cls(state, state / "task" / "jobs")
        name = hashlib.sha256(str(state).encode()).hexdigest()[:12]
        return cls(state, root / name, root)

    def make(self) -> None:
        """Make the directory; take away those of stacks whose state is gone."""
        if self.root is None:
            own_directory(self.directory)
            return
        with _locked(self.root):
            taken = {_noted(place) for place in self._living()}
            own_directory(self.directory)
            self.directory.chmod(_PASSABLE)
            if _noted(self.directory) is None:
                first, stacks = _range()
                blocks = (first + number * _UIDS for number in range(stacks))
                free = next((block for block in blocks if block not in taken), None)
                if free is None:
                    raise EmbeddedError(
                        f"{stacks} stacks have directories in {self.root}: "
                        "remove the state of one that is needed no more"
                    )
                note = {"state": str(self.state), "first_uid": free}
                write_private(self.directory / _NOTE, json.dumps(note))

    def settings(self) -> dict[str, str]:
        """The settings by which the task service uses these directories and user ids."""
        if self.root is None:
            return {"JOBS_DIR": str(self.directory)}
        if (first := _noted(self.directory)) is None:
            self.make()
            first = _noted(self.directory)
        return {"JOBS_DIR": str(self.directory), "FIRST_UID": str(first), "UIDS": str(_UIDS)}

    def leave(self) -> None:
        """Take the directory away unless members still work there, or jobs left something."""
        if self.root is not None:
            with _locked(self.root):
                # A program may have left any number of levels: two say whether there is something.
                found = [each for part in ("*", "*/*") for each in self.directory.glob(part)]
                left = [path for path in found if path.name[0] != "."]
                if left == [self.directory / _NOTE]:
                    trees.delete(self.directory)

    def _living(self) -> Iterator[Path]:
        """Directories of stacks that are still there."""
        for note in sorted(self.root.glob(f"*/{_NOTE}") if self.root else ()):
            state = json.loads(note.read_text())["state"]
            if Path(state).is_dir():
                yield note.parent
            else:
                with suppress(OSError):
                    trees.delete(note.parent)


def _noted(directory: Path) -> int | None:
    """The first user number of the stack that has this directory."""
    try:
        return int(json.loads((directory / _NOTE).read_text())["first_uid"])
    except FileNotFoundError:
        return None


def _range() -> tuple[int, int]:
    """The first range whose users this machine, or this container, knows."""
    known = [tuple(map(int, line.split())) for line in _uid_map().splitlines()]
    for first, stacks in _RANGES:
        last = first + stacks * _UIDS
        if any(inner <= first and last <= inner + number for inner, _, number in known):
            return first, stacks
    return _RANGES[-1]


def _uid_map() -> str:
    return Path("/proc/self/uid_map").read_text()


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    own_directory(root)
    root.chmod(_PASSABLE)
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
