"""Recognises finished logs by their names, and the active file of a family of logs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

_DAY = "20[0-9][0-9][0-1][0-9][0-3][0-9]"
_DATE = "20[0-9][0-9]-[0-1][0-9]-[0-3][0-9]"
_SYSTEM_LOGS = ("syslog", "messages", "maillog", "secure", "cron", "dmesg", "catalina.out")

PATTERNS = (
    "*.log.[0-9]*",
    f"*.log-{_DAY}*",
    f"*.log-{_DATE}*",
    *(f"*.log.{form}" for form in ("gz", "bz2", "xz", "zst", "old")),
    *(f"*[.-]{date}*.log{packed}" for date in (_DAY, _DATE) for packed in ("", ".gz")),
    *(
        f"{name}{rotated}{packed}"
        for name in ("*_log", *_SYSTEM_LOGS)
        for rotated in (".[0-9]", ".[0-9][0-9]", f"-{_DAY}")
        for packed in ("", ".gz")
    ),
)
"""Finished logs as logrotate, log4j, Tomcat and others name them: the name says that it is a log.

A number, a date or a packed form alone says nothing: libraries, checkpoints, exports and kept
configurations have them, too. Who rotates logs under other names adds patterns of their own.
"""

_PACKED = re.compile(r"\.(gz|bz2|xz|zst|zip|old)$")
_MARKS = re.compile(r"([._-]?\d+)+|\.(gz|bz2|xz|zst|zip|old)(?=$|\.)")
_BEHIND_LOG = re.compile(r"\.(log|out|err)[.-]\d[\d.-]*$")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a file name matches a pattern (case-sensitive; ``*``, ``?``, ``[a-z]``)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def is_finished(name: str) -> bool:
    """Return whether the name alone proves that nothing is written any more.

    Packed files are finished, and so is ``x.log.1``: the active one is ``x.log``. A bare number
    or date proves nothing, since some programs write straight into ``trace.7`` or
    ``catalina.2024-05-01.log``.

    >>> [is_finished(n) for n in ("a.log.1", "a.gz", "a.old", "trace.7", "a.2024-05-01.log")]
    [True, True, True, False, False]
    """
    return bool(_PACKED.search(name) or _BEHIND_LOG.search(name))


def family(name: str) -> str:
    """The name without numbers, dates and packing: what all files of one log share.

    >>> family("catalina.2024-05-01.log"), family("trace.7"), family("app.log.3.gz")
    ('catalina.log', 'trace', 'app.log')
    """
    return _MARKS.sub("", name)


def active(files: Iterable[tuple[str, int]]) -> set[str]:
    """Names in one directory that may still be written to: each family's newest.

    ``files``: (name, time of modification) of all of the directory's regular files. Files whose
    name proves them finished are never active.
    """
    newest: dict[str, tuple[int, str]] = {}
    for name, modified in files:
        if not is_finished(name):
            key = family(name)
            newest[key] = max(newest.get(key, (modified, name)), (modified, name))
    return {name for _, name in newest.values()}
