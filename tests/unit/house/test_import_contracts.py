"""Every import contract fails on a planted violation, so a green run means something."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PLANTED = {
    "Services are independent of each other": (
        "services/detector/planted.py",
        "import services.task",
    ),
    "shared knows no service": ("shared/planted.py", "import services.task"),
    "pika only in shared.messaging": ("services/task/planted.py", "import pika"),
    "boto3 only in shared.storage": ("shared/service/planted.py", "import boto3"),
    "numba only in shared.compiled": ("services/detector/planted.py", "import numba"),
    "SQL only in shared.store": ("services/task/planted.py", "import sqlalchemy.orm"),
    "kubernetes only in shared.cluster and the task service's runtimes": (
        "services/healer/planted.py",
        "import kubernetes.client",
    ),
    "Handlers import no doorway": (
        "services/task/handlers.py",
        "from shared.messaging.bus import Bus",
    ),
    "Layers of the task service": ("services/task/states.py", "import services.task.planning"),
    "Layers of the detector": (
        "services/detector/detectors/grubbs.py",
        "import services.detector.engine",
    ),
    "Layers of the predictor": (
        "services/predictor/settings.py",
        "import services.predictor.engine",
    ),
    "Layers of the client": ("services/client/records.py", "import services.client.api.app"),
    "Layers of the healer": (
        "services/healer/model/planted.py",
        "import services.healer.incidents.lifecycle",
    ),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for package in ("services", "shared"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__py*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def broken(tree: Path) -> set[str]:
    output = lint(tree).stdout
    assert "Contracts:" in output, "it ran to its end"
    return contracts(output, "BROKEN")


def contracts(output: str, verdict: str) -> set[str]:
    return set(re.findall(rf"^(.+?) {verdict}(?: \(.*\))?$", output, re.MULTILINE))


def test_the_tree_as_it_is_keeps_every_contract(tree: Path) -> None:
    result = lint(tree)

    assert result.returncode == 0, result.stdout + result.stderr
    assert contracts(result.stdout, "KEPT") == set(PLANTED), (
        "every contract of the configuration is proven here"
    )


@pytest.mark.parametrize("contract", PLANTED)
def test_a_planted_violation_breaks_exactly_its_contract(contract: str, tree: Path) -> None:
    place, statement = PLANTED[contract]
    path = tree / place
    path.write_text((path.read_text() if path.exists() else "") + f"\n{statement}\n")

    assert broken(tree) == {contract}


def test_the_doorways_themselves_may_import_their_libraries(tree: Path) -> None:
    for place, library in {
        "shared/messaging": "pika",
        "shared/storage": "boto3",
        "shared/store": "sqlalchemy",
        "services/task/runtimes": "kubernetes",
    }.items():
        (tree / place / "planted.py").write_text(f"import {library}\n")

    assert broken(tree) == set()
