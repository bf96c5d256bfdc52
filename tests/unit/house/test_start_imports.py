"""What a service on one machine starts without: processor time and memory that it would not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared import storage

pytestmark = pytest.mark.slow

RUNNING = ("task", "autospec", "detector", "predictor", "healer", "client", "healer.agent")
ELSEWHERE = ("boto3", "urllib3", "matplotlib", "kubernetes", "statsmodels", "pandas", "alembic")


@pytest.mark.parametrize("service", ["detector", "predictor", "healer.agent"])
def test_a_service_that_keeps_files_starts_without_the_object_stores_client(service: str) -> None:
    code = (
        f"import sys, services.{service}.main;"
        f" print([m for m in {ELSEWHERE!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("service", RUNNING)
def test_a_service_loads_nothing_that_draws_on_terminals_and_can_do_so_afterwards(
    service: str,
) -> None:
    code = (
        "import gc, sys\nfrom shared.loading import UNNEEDED, loading\n"
        f"with loading(UNNEEDED):\n    import services.{service}.main\n"
        "print([m for m in ('rich', 'pygments', 'attr') if m in sys.modules], gc.isenabled())\n"
        "import rich.console"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_samples_are_encoded_and_decoded_without_pandas() -> None:
    code = (
        "import sys, numpy as np\n"
        "from shared.samples import SampleBatch\nfrom shared.samples.arrow import decode, encode\n"
        "none = np.zeros(1, dtype=np.int32)\n"
        "batch = SampleBatch(['vm-1'], ['é'], [''], none, none, none, none + 10**9, none + 0.5)\n"
        "both = [decode(encode(batch), trusted=trusted) for trusted in (True, False)]\n"
        "print([read.value.tolist() for read in both], 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[0.5], [0.5]] False"


def test_commands_begin_without_the_contracts_and_the_brokers_client() -> None:
    code = (
        "import sys\nfrom shared.cli.application import complete\ncomplete()\n"
        "print([m for m in ('shared.contracts', 'pika', 'numpy') if m in sys.modules])"
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
