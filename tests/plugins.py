"""Packages of a user's own: written to a folder and installed as any other, with no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.documented import ROOT


def install(folder: Path, name: str, modules: dict[str, str], points: dict[str, str]) -> Path:
    """Install the distribution ``name`` into a folder that can be put on the path; the folder.

    ``modules``: text by module name. ``points``: lines of entry points by group.
    """
    source, target = folder / "source", folder / "installed"
    package = name.replace("-", "_")
    (source / package).mkdir(parents=True)
    (source / package / "__init__.py").touch()
    for module, text in modules.items():
        (source / package / f"{module}.py").write_text(text)
    groups = "".join(
        f'[project.entry-points."{group}"]\n{lines}\n' for group, lines in points.items()
    )
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{name}"\nversion = "1.2"\n{groups}'
        f'[tool.setuptools]\npackages = ["{package}"]\n'
    )
    uv = str(Path(sys.executable).with_name("uv"))
    options = ("--quiet", "--offline", "--no-deps", "--no-build-isolation")
    command = (uv, "pip", "install", *options, "--python", sys.executable, "--target")
    subprocess.run([*command, target, source], check=True, cwd=ROOT, timeout=600)
    return target
