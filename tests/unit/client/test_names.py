"""Names of jobs made of folders'."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.contracts.message import Identifier
from shared.job_names import job_name

NAMES = {
    "my model": "my-model",
    "übung": "ubung",
    "mnist_v1_": "mnist_v1",
    "digits": "digits",
    "digits.tar.gz": "digits",
    "v1.tgz": "v1",
    ".hidden": "hidden",
    "日本": "job",
    "a" * 300: "a" * 63,
    "größe µm (1)": "groe-m-1",
}


@pytest.mark.parametrize("folder", NAMES)
def test_a_folder_gives_its_job_a_name_like_its_own(folder: str, tmp_path: Path) -> None:
    assert job_name(tmp_path / folder) == NAMES[folder]


@given(st.text(min_size=1).filter(lambda t: "/" not in t and "\x00" not in t))
def test_every_folder_gives_its_job_a_usable_name(folder: str) -> None:
    TypeAdapter(Identifier).validate_python(
        job_name(Path("/work") / folder.encode(errors="replace").decode())
    )
