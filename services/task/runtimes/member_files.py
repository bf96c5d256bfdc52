"""Files that a launcher leaves in its member's directory, read by whoever looks after it."""

from __future__ import annotations

from pathlib import Path

import structlog
from pydantic import ValidationError

from services.task.spec import EXIT_FILE, LAUNCHER_FILE, LauncherProcess
from shared.contracts import PodExited

log = structlog.get_logger(__name__)


def launcher_of(directory: Path) -> LauncherProcess | None:
    """The launcher that works, or worked, in a member's directory.

    A file that cannot be read, as after the machine lost its power, is that of one that is gone:
    it must not keep all other members from being seen.
    """
    try:
        return LauncherProcess.model_validate_json((directory / LAUNCHER_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("launcher_not_readable", directory=str(directory), error=str(error)[:300])
        return LauncherProcess(pid=0, started=0)  # which no process has


def end_of(directory: Path) -> PodExited | None:
    """The last message of the launcher; None where there is none that can be read."""
    try:
        return PodExited.model_validate_json((directory / EXIT_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("end_not_readable", directory=str(directory), error=str(error)[:300])
        return None
