"""``python -m services.healer``."""

from __future__ import annotations

import sys

from services.healer.main import run

if __name__ == "__main__":
    sys.exit(run())
