"""Machines in trouble, for the tests of remediations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.healer.remediations import Outcome, Remediation, Step, make
from shared.contracts import SeriesRef

OLD_S = 10 * 86_400
HOUR_S = 3600


@dataclass
class Noted:
    """A journal that remembers, and may do something at the worst moment: before a step."""

    before_step: Callable[[Step], None] = lambda _step: None
    events: list[tuple[str, Step]] = field(default_factory=list)

    def intend(self, step: Step) -> None:
        self.events.append(("intend", step))
        self.before_step(step)

    def done(self, step: Step) -> None:
        self.events.append(("done", step))

    def failed(self, step: Step, error: str) -> None:
        self.events.append(("failed", step))


@dataclass(frozen=True)
class Trouble:
    """A machine in the trouble that a remediation is for; ``ground`` is all it could touch."""

    ground: Path
    root: Path
    outside: Path
    remedy: Remediation
    series: SeriesRef

    def run(self, journal: Noted | None = None, *, dry_run: bool = False) -> Outcome:
        return self.remedy.run(self.series, dry_run=dry_run, journal=journal or Noted())

    def state(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.ground.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
        return found


def put(path: Path, age_s: float = OLD_S, content: bytes = b"log\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    modified = time.time() - age_s
    os.utime(path, (modified, modified))
    return path


def full_of_logs(ground: Path, **settings: Any) -> Trouble:
    root, outside = ground / "volume" / "logs", ground / "outside"
    for name in ("app.log.1", "app.log.2.gz", "web/access.log.3", "db/slow-20240101.old"):
        put(root / name)
    put(root / "app.log", 0)
    put(outside / "app.log.1", content=b"precious")
    allowed = {"root": str(root), "min_age_s": HOUR_S, **settings}
    return Trouble(
        ground, root, outside, make("clean-logs", {"roots": [allowed]}),
        SeriesRef(host="h", item="df.bytes.used.percent", labels={"mount": str(root.parent)}),
    )  # fmt: skip


TROUBLES: dict[str, Callable[[Path], Trouble]] = {"clean-logs": full_of_logs}
"""For each registered remediation a trouble that it helps against."""
