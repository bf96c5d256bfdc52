"""Deterministic ids are the standard library's UUIDs."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.alerts import SeriesRef
from shared.contracts.message import NAMESPACE, deterministic_id


@given(st.lists(st.text() | st.integers()))
def test_an_id_is_the_version_5_uuid_of_its_parts(parts: list[str | int]) -> None:
    name = "\x1f".join(str(part) for part in parts)
    assert deterministic_id(*parts) == str(uuid.uuid5(NAMESPACE, name))


@given(*[st.dictionaries(st.text(',="ab', max_size=4), st.text(',="ab ', max_size=6))] * 2)
def test_no_two_series_have_the_same_text(one: dict[str, str], other: dict[str, str]) -> None:
    first = SeriesRef(host="h", item="i", labels=one)
    second = SeriesRef(host="h", item="i", labels=other)
    assert (first.text() == second.text()) == (one == other)
