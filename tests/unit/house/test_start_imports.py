"""What a service on one machine starts without: processor time and memory that it would not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared import storage

pytestmark = pytest.mark.slow

ELSEWHERE = ("boto3", "urllib3", "matplotlib", "kubernetes", "statsmodels", "pandas", "alembic")


@pytest.mark.parametrize("service", ["detector", "predictor", "healer.agent"])
def test_a_service_that_keeps_files_starts_without_the_object_stores_client(service: str) -> None:
    code = (
        f"import sys, services.{service}.main;"
        f" print([m for m in {ELSEWHERE!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Bucket'"):
        _ = storage.Bucket


@pytest.mark.parametrize("service", ["autospec", "client", "task", "healer.agent"])
def test_a_service_without_samples_starts_without_numbers_which_its_image_has_not(
    service: str,
) -> None:
    code = f"import sys, services.{service}.main; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
