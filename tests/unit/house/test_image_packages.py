"""An image has every package that its service imports; here all of them are installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = ("client", "task", "autospec", "detector", "predictor", "healer")
_PROGRAM = """\
import importlib, sys

class Absent:
    names = frozenset(sys.argv[2].split(","))

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
importlib.import_module(sys.argv[1])
"""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def absent(service: str) -> set[str]:
    """Modules that are installed here and not in the service's image."""
    text = (ROOT / "requirements" / f"{service}.txt").read_text()
    locked = {_plain(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}
    return {
        module
        for module, distributions in packages_distributions().items()
        if not {_plain(name) for name in distributions} & {*locked, "barograph"}
    }


def imported(module: str, without: set[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, module, ",".join(sorted(without))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_needs_no_package_beside_those_of_its_image(service: str) -> None:
    done = imported(f"services.{service}.main", absent(service))
    assert done.returncode == 0, done.stderr


def test_the_node_agent_runs_from_the_healers_image() -> None:
    done = imported("services.healer.agent.main", absent("healer"))
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_found() -> None:
    done = imported("services.detector.main", absent("detector") | {"pyarrow"})
    assert "No module named 'pyarrow'" in done.stderr
