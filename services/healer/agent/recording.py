"""``python -m services.healer.agent.record FILE``: write what the agent would send, for a replay.

The columns are those of ``barograph replay``: host, item, labels (JSON), time (Unix
milliseconds), value. Settings are the agent's (``BAROGRAPH_AGENT_ITEMS``, ``_VOLUMES``,
``_INTERVAL_S`` ...); no broker is needed. It ends after ``--seconds``, or with Ctrl-C.
"""

from __future__ import annotations

import argparse
import csv
import json
import threading
import time
from pathlib import Path
from typing import TextIO

from services.healer.agent.publishing import Publishing
from services.healer.agent.samplers import makers
from services.healer.agent.settings import AgentSettings

COLUMNS = ("host", "item", "labels", "time", "value")


def record(settings: AgentSettings, target: TextIO, seconds: float, stop: threading.Event) -> int:
    """Read every interval until the time is over; return the number of rows written."""
    samplers = [make() for make in makers(settings.volumes, settings.programs)]
    publishing = Publishing(
        settings.host, samplers, interval_s=settings.interval_s, items=settings.items
    )
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    end, rows = time.monotonic() + seconds, 0
    while time.monotonic() < end and not stop.wait(settings.interval_s):
        for sample in publishing.read(int(time.time() * 1000)):
            labels = json.dumps(sample.labels, sort_keys=True) if sample.labels else ""
            value = f"{sample.value:.6g}"
            writer.writerow((settings.host, sample.item, labels, sample.time_ms, value))
            rows += 1
        target.flush()
    return rows


def main() -> None:
    """Record as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="the CSV file to write, which must not exist yet")
    parser.add_argument(
        "--seconds",
        type=float,
        default=float("inf"),
        help="the seconds after which recording ends; by default it goes on",
    )
    options = parser.parse_args()
    settings = AgentSettings.load("agent")
    with options.file.open("x", newline="") as target:
        try:
            record(settings, target, options.seconds, threading.Event())
        except KeyboardInterrupt:
            return
