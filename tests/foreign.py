"""Foreign programs the tests talk to: Node packages, installed once outside the checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_HERE = Path(__file__).parent / "node"


def node_root() -> Path:
    """A folder with the locked Node packages in its ``node_modules``; installed when missing."""
    if shutil.which("npm") is None:
        pytest.fail("npm is not installed: run `make setup`", pytrace=False)
    lock = (_HERE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "barograph" / "node"
    root = cache / hashlib.sha256(lock).hexdigest()[:16]
    if not (root / ".complete").exists():
        root.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, root / name)
        subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=root, check=True)
        (root / ".complete").touch()
    return root


def run_node(script: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run one of the scripts in ``tests/node``; its exit status is the caller's to check."""
    environment = dict(os.environ) | {"BAROGRAPH_NODE_ROOT": str(node_root())}
    done = subprocess.run(
        ["node", str(_HERE / script), *arguments],
        input=stdin,
        env=environment,
        capture_output=True,
        timeout=600,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )
