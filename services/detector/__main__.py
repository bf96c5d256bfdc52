"""``python -m services.detector`` runs the service."""

from __future__ import annotations

from shared import entry
from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.detector")
    entry.run("services.detector.main", "run", service=True)
