"""Tests of what counts as a package's place: any text may be asked about."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from services.client.tshell.request import is_file
from shared.contracts.job_parts import ObjectRef
from shared.packages.places import is_package, key_of, place_of

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


@given(st.lists(st.sampled_from([":", BUCKET, "packages", "a", ".", "..", "/"])).map("".join))
def test_whatever_a_job_may_name_has_one_reading(text: str) -> None:
    try:
        TypeAdapter(ObjectRef).validate_python(text)
    except ValidationError:
        return
    place = place_of(text)
    if text.rpartition(":")[2] in (".", ".."):
        assert place is None, "the folder above is no object"
    else:
        assert place is not None
        assert ":".join(place) == text
        assert key_of(text) == place.key


@pytest.mark.parametrize(
    "text", ["a:b:c:d", "a::c", ":b:c", "a:b:", "a:b:..", "a:b", "job.yaml", "-"]
)
def test_what_names_no_object_is_a_file_for_tshell_and_has_no_key(text: str) -> None:
    assert place_of(text) is None
    assert is_file(text)
    with pytest.raises(ValueError, match="is not bucket:prefix:name"):
        key_of(text)


@pytest.mark.parametrize("name", ["digits.tar.gz", "a" * 300])
def test_an_object_is_a_package_for_tshell_unless_a_file_has_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_file(f"{BUCKET}:packages:{name}")
    Path("a:b:c.yaml").touch()
    assert is_file("a:b:c.yaml")
