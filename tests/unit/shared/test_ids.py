"""Deterministic ids are the standard library's UUIDs."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.message import NAMESPACE, deterministic_id


@given(st.lists(st.text() | st.integers()))
def test_an_id_is_the_version_5_uuid_of_its_parts(parts: list[str | int]) -> None:
    name = "\x1f".join(str(part) for part in parts)
    assert deterministic_id(*parts) == str(uuid.uuid5(NAMESPACE, name))
