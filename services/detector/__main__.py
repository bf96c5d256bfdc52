"""``python -m services.detector`` runs the service."""

from __future__ import annotations

import sys

from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.detector")
    from services.detector.main import run

    sys.exit(run())
