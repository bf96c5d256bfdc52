"""Somebody else on this machine: code run as a user who owns nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

NOBODY = 65_534


def as_stranger(code: str, *arguments: str, stdin: str = "", uid: int = NOBODY) -> str:
    """Return what Python code prints that runs as another user, with no environment of ours.

    It runs on the system's interpreter, which every user can start.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become another user: what that one could do is not checked")
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", code, *arguments],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        env={},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def open_way_to(directory: Path) -> None:
    """Let other users pass through pytest's private directories to one below."""
    for parent in [directory, *directory.parents[:3]]:
        parent.chmod(parent.stat().st_mode | 0o011)
