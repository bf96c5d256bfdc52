"""What a healer must have before it takes its first alarm, and what it need not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = ("numba", "kubernetes", "boto3", "alembic", "matplotlib", "mlxtend", "scipy")
"""More to import than the rest together; each is imported where it is used."""


@pytest.mark.slow
def test_the_healer_starts_without_what_only_some_of_it_needs() -> None:
    code = f"import sys, services.healer.main; print([m for m in {LATER!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
