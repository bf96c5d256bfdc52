"""What `make setup` installs is compiled, so that no start of a process compiles it again."""

from importlib.util import cache_from_source, find_spec
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["tensorflow", "numba", "sqlalchemy", "pydantic"])
def test_set_up_compiles_modules(module: str) -> None:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert Path(cache_from_source(spec.origin)).exists(), "run `make setup`"
