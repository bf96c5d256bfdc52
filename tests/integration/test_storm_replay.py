"""The benchmark of a storm's CPU plays the storm through the healer as it is now."""

from __future__ import annotations

import json
import subprocess
import sys


def test_a_replayed_storm_is_published_and_told() -> None:
    command = [sys.executable, "-m", "bench.storm_cpu", "--alerts=120", "--batch=20", "--settle=9"]
    played = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(played.stdout.splitlines()[-1])
    assert (figures["alerts"], figures["published"]) == (120, 120)
    assert figures["mails"] >= 1
    assert figures["cpu_s_per_1000"] > 0
