"""Tests of what counts as a package's place: any text may be asked about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.packages.places import is_package, key_of

BUCKET = "barograph"


@pytest.mark.parametrize("project", ["default", "vision"])
def test_a_package_of_its_own_project_has_the_key_under_which_it_is_kept(project: str) -> None:
    prefix = "packages" if project == "default" else f"packages/{project}"
    reference = f"{BUCKET}:{prefix}:digits.tar.gz"
    assert is_package(reference, BUCKET, project)
    assert not is_package(reference, BUCKET, "other")
    assert key_of(reference) == f"{prefix}/digits.tar.gz"


@given(st.lists(st.sampled_from([":", BUCKET, "packages", "a", ".", "..", "/"])).map("".join))
def test_any_text_is_answered_and_only_two_colons_name_a_package(text: str) -> None:
    parts = text.split(":")
    expected = parts[:2] == [BUCKET, "packages"] and len(parts) == 3
    assert is_package(text, BUCKET, "default") == (expected and parts[2] not in ("", ".", ".."))
