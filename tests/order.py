"""In which order tests run, and which of them share a process."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadFileScheduling

_TESTS = Path(__file__).parent
ON_THE_STACK = (
    "hostile/test_local_user.py",
    "hostile/test_programs.py",
    "chart/test_helm_test.py",
)
"""Files whose tests use the whole platform: one process starts it, once, and ends it after them."""
_ON_THE_STACK = {_TESTS / name for name in ON_THE_STACK}
_FIRST = (
    "e2e/test_killed_services.py",
    "e2e/test_tensorflow_jobs.py",
    "e2e",
    *ON_THE_STACK,
    "integration",
    "browser",
    "hostile",
    "chart",
    "conformance",
    "property",
)
"""What waits longest for servers comes first: what only computes fills the gaps afterwards, and at
the end no process waits for another's last long story."""


@cache
def rank(path: Path) -> int:
    """The place of a test's file in the order; equal ones stay as they were collected."""
    for place, name in enumerate(_FIRST):
        if path.is_relative_to(_TESTS / name):
            return place
    return len(_FIRST)


def is_on_the_stack(path: Path) -> bool:
    """Return whether the file's tests share the process that runs the whole platform."""
    return path in _ON_THE_STACK


def own_part(whole: range) -> range:
    """The part of a range that belongs to this worker alone; all of it where there is one."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(whole) // workers
    return whole[number * size : (number + 1) * size]


class InOrder(LoadFileScheduling):
    """Gives whole files to processes in the order of the tests, not by how many a file has."""

    def __init__(self, config: Any, log: Any = None) -> None:
        super().__init__(config, log)
        self.config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        on_the_stack = is_on_the_stack(self.config.rootpath / file)
        return "the whole platform" if on_the_stack else file
