"""What a healer must have before it takes its first alarm, and what it need not wait for."""

from __future__ import annotations

import subprocess
import sys
from unittest.mock import MagicMock

import pytest

from services.healer.main import HealerService

LATER = ("numba", "kubernetes", "boto3", "alembic", "matplotlib", "mlxtend", "scipy")
"""More to import than the rest together; each is imported where it is used."""


@pytest.mark.slow
def test_the_healer_starts_without_what_only_some_of_it_needs() -> None:
    code = f"import sys, services.healer.main; print([m for m in {LATER!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_of_the_periodic_work_only_sending_follows_every_batch_of_messages() -> None:
    passes = HealerService._passes(MagicMock(), MagicMock(canary_every_s=300.0))
    assert [each.name for each in passes if each.eager] == ["flush"], "a storm waits for the rest"
