"""``python -m services.predictor`` runs the service."""

from __future__ import annotations

import sys

from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.predictor")
    from services.predictor.main import run

    sys.exit(run())
