"""Keeps one core busy until it is stopped, or until whoever started it has ended."""

from __future__ import annotations

import os

if __name__ == "__main__":
    starter = os.getppid()
    while os.getppid() == starter:
        pass
