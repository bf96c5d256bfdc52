"""An image has every package that its service imports; here all of them are installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

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
for name in sys.argv[1].split(","):
    importlib.import_module(name)
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


def imported(
    module: str, without: set[str], folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, module, ",".join(sorted(without))],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_needs_no_package_beside_those_of_its_image(service: str) -> None:
    done = imported(f"services.{service}.main", absent(service))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", ["detector", "predictor"])
def test_the_build_of_an_image_compiles_its_kernels_with_its_packages_alone(service: str) -> None:
    done = imported(f"services.{service}.compiling", absent(service))
    assert done.returncode == 0, done.stderr


AGENT = (
    "services.healer.agent.__init__",
    "services.healer.agent.main",
    *sorted(
        f"services.healer.remediations.{path.stem}"
        for path in (ROOT / "services/healer/remediations").glob("*.py")
    ),
)


def test_the_node_agent_needs_psutil_and_the_base_only(tmp_path: Path) -> None:
    """From a copy of the code as its image has it: no file of the healer's beside."""
    copied = re.search(r"cp -r (.*) /app/services/healer/", (ROOT / "Dockerfile").read_text())
    assert copied is not None
    (tmp_path / "services/healer").mkdir(parents=True)
    for name in copied[1].split():
        (tmp_path / "services/healer" / name).symlink_to(ROOT / "services/healer" / name)
    for name in ("services/__init__.py", "shared"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = imported(",".join(AGENT), absent("agent"), tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_found() -> None:
    done = imported("services.detector.main", absent("detector") | {"pyarrow"})
    assert "No module named 'pyarrow'" in done.stderr
