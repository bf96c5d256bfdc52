"""A plug-in is one new file, of ours or of a user's package; one that fails stops the start."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.documented import ROOT, blocks
from tests.plugins import install

pytestmark = pytest.mark.slow

DETECTOR = """
from typing import ClassVar
import numpy as np
from pydantic import Field
from services.detector.detectors import Detector, detector
from services.detector.detectors.base import votes

@detector
class FixedBand(Detector):
    NAME: ClassVar[str] = "fixed_band"
    low: float = Field(0, description="Least usual value.")
    high: float = Field(1, description="Largest usual value.")
    def columns(self): return []
    def judge(self, state, tick):
        away = np.where(tick.values > self.high, 1.0, np.where(tick.values < self.low, -1.0, 0.0))
        return votes(np.ones(len(tick), bool), away != 0, away, value=tick.values)
    def learn(self, state, tick): pass
    def explain(self, numbers): return f"{numbers['value']:g} is outside the band"
"""
FORECASTER = """
from typing import ClassVar
from services.predictor.forecasters import Forecaster, forecaster

@forecaster
class Oracle(Forecaster):
    NAME: ClassVar[str] = "oracle"
    def least_points(self, season): return 1
    def _forecast(self, history, horizon, season): raise NotImplementedError
"""
REMEDIATION = """
from services.healer.remediations import Outcome, Remediation, remediation

@remediation("water-the-plants")
class WaterThePlants(Remediation):
    def run(self, series, *, dry_run, journal, only=None): return Outcome(True)
    def happened(self, step): return True
"""
CHANNEL = """
from typing import ClassVar
from services.healer.notify.channels import Channel, channel

@channel
class Pigeon(Channel):
    TYPE: ClassVar[str] = "pigeon"
    def send(self, told, recipient, tools): pass
"""
EVIDENCE = """
from services.healer.agent.evidence.base import evidence_collector
from services.healer.agent.evidence.found import table

@evidence_collector("full-moon", "disk")
def full_moon(asked):
    return table("The moon", [{"phase": "full"}])
"""
KINDS = {
    "barograph.detectors": ("fixed_band", DETECTOR),
    "barograph.forecasters": ("oracle", FORECASTER),
    "barograph.remediations": ("water-the-plants", REMEDIATION),
    "barograph.channels": ("pigeon", CHANNEL),
    "barograph.evidence": ("full-moon", EVIDENCE),
}
ASK = """
from services.detector.detectors import registered as detectors
from services.detector.settings import Settings as Detector
from services.predictor.forecasters import registered as forecasters
from services.predictor.settings import Settings as Predictor
from services.healer.remediations import registered as remediations
from services.healer.notify.channels import registered as channels
from services.healer.agent.evidence.base import collectors
from services.healer.agent.settings import AgentSettings
from services.healer.settings import HealerSettings
for names in (detectors(), forecasters(), remediations(), channels()):
    print(*names)
print(*(each.look.__name__ for each in collectors("disk")))
Detector.load("detector"); Predictor.load("predictor")
HealerSettings.load("healer"); AgentSettings.load("agent")
"""


def python(*words: str, path: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    places = [str(ROOT), *([str(path)] if path else [])]
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "NO_COLOR": "1"} | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_package_of_ones_own_brings_one_of_each_kind(tmp_path: Path) -> None:
    modules = {name.replace("-", "_"): text for name, text in KINDS.values()}
    points = {
        group: f'{name} = "plants.{name.replace("-", "_")}"' for group, (name, _) in KINDS.items()
    }
    path = install(tmp_path, "plants", modules, points)

    asked = python("-c", ASK, path=path)

    assert asked.returncode == 0, asked.stderr
    found = [line.split() for line in asked.stdout.splitlines()]
    for names, (name, _) in zip(found, KINDS.values(), strict=True):
        assert name.replace("-", "_") in [each.replace("-", "_") for each in names]
        assert len(names) > 3, "beside those of our own"


def test_the_detector_of_the_guide_can_be_tried_from_a_package(tmp_path: Path) -> None:
    text, project = (
        block.text for block in blocks("python", "toml") if block.page.name == "write-a-plug-in.md"
    )
    (point,) = tomllib.loads(project)["project"]["entry-points"]["barograph.detectors"].items()
    path = install(
        tmp_path,
        "my-detectors",
        {"far_from_last": text},
        {"barograph.detectors": '{} = "{}"'.format(*point)},
    )
    rows = "".join(f"h,x,{60 * n},{100 if n == 7 else n}\n" for n in range(10))
    (tmp_path / "series.csv").write_text(f"host,item,time,value\n{rows}")
    command = (str(tmp_path / "series.csv"), "--detector", "far_from_last")
    run = "import typer; from replay.try_detector import try_detector; typer.run(try_detector)"

    tried = python("-c", run, *command, "--plot", str(tmp_path / "plot.svg"), path=path)
    asked = python("-c", run, *command, "--settings", '{"largest": 1000}', path=path)
    wrong = python("-c", run, *command, "--settings", '{"lagest": 1}', path=path)

    assert tried.stdout.splitlines() == [
        "1970-01-01 00:07:00  h x  100 is +94 from the value before it",
        "1970-01-01 00:08:00  h x  8 is -92 from the value before it",
        "h x: 10 points, 9 judged, 2 anomalous",
    ], tried.stderr
    assert (tmp_path / "plot.svg").read_text().count("<circle") == 2
    assert asked.stdout == "h x: 10 points, 9 judged, 0 anomalous\n"
    assert wrong.returncode == 2
    assert "lagest" in wrong.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            DETECTOR + "\nraise RuntimeError('half way')\n",
            "RuntimeError: half way",
        ),
        ("", "plants.fixed_band registers no detector of this name"),
        (
            DETECTOR.replace('"fixed_band"', '"surprise"'),
            "ValueError: two detectors are named 'surprise'",
        ),
    ],
    ids=["it cannot be imported", "it fails half way", "it registers nothing", "it takes a name"],
)
def test_one_that_fails_names_itself_and_stops_the_start(
    tmp_path: Path, text: str, problem: str
) -> None:
    points = {"barograph.detectors": 'fixed_band = "plants.fixed_band"'}
    path = install(tmp_path, "plants", {"fixed_band": text}, points)

    started = python("-m", "services.detector", path=path)

    assert started.returncode == 2
    expected = f"detector 'fixed_band' of plants 1.2 cannot be used: {problem}"
    assert started.stderr.strip().splitlines() == [expected]


def test_what_nobody_installed_is_not_loaded(tmp_path: Path) -> None:
    planted = tmp_path / "planted-1.0.dist-info"
    planted.mkdir()
    (planted / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (planted / "entry_points.txt").write_text("[barograph.detectors]\nfixed_band = planted\n")
    (tmp_path / "planted.py").write_text(DETECTOR)

    asked = python("-c", ASK, path=tmp_path)

    assert asked.returncode == 0, asked.stderr
    assert "fixed_band" not in asked.stdout


def test_a_collector_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    failing = EVIDENCE + "    raise KeyError('moon')\n"
    failing = failing.replace('    return table("The moon", [{"phase": "full"}])\n', "")
    points = {"barograph.evidence": 'full-moon = "plants.full_moon"'}
    path = install(tmp_path, "plants", {"full_moon": failing}, points)
    script = (
        "import threading; from datetime import timedelta\n"
        "from shared.service.inlet import utc_now\n"
        "from services.healer.agent.evidence import Collector\n"
        "found = Collector(utc_now, threading.Event).more(\n"
        "    'disk', '/', utc_now() + timedelta(minutes=1))\n"
        "print(*(each.title for each in found), sep='\\n')\n"
    )

    asked = python("-c", script, path=path)

    assert asked.returncode == 0, asked.stderr
    assert "Started lately" in asked.stdout
