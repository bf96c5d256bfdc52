"""Changed copies of records: names and values are checked, which ``model_copy`` does not do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from shared.changes import changed, with_changes


class Point(BaseModel):
    model_config = ConfigDict(frozen=True)

    x: int
    tags: tuple[str, ...] = ()
    share: float = Field(default=0, le=1)


def test_a_copy_has_the_changes_and_the_rest() -> None:
    assert with_changes(Point(x=1, share=0.5), tags=["a"]) == Point(x=1, share=0.5, tags=("a",))


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Point has no field tag, y"):
        with_changes(Point(x=1), y=2, tag=())


@pytest.mark.parametrize("changes", [{"x": "one"}, {"share": 2}])
def test_a_value_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        with_changes(Point(x=1), **changes)


class _Point(BaseModel):
    model_config = ConfigDict(frozen=True)

    at: int
    value: float = 0.0


def test_a_changed_copy_has_the_other_values_and_the_rest_of_the_first() -> None:
    first = _Point(at=1, value=2.0)
    assert changed(first, value=3.0) == _Point(at=1, value=3.0)
    assert first == _Point(at=1, value=2.0)


def test_a_name_that_is_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match="_Point has no field colour, size"):
        changed(_Point(at=1), size=1, colour="red", at=2)


def test_copies_are_changed_in_no_other_way() -> None:
    root = Path(__file__).parents[3]
    found = [
        path.relative_to(root).as_posix()
        for folder in ("services", "shared", "replay", "bench")
        for path in sorted((root / folder).rglob("*.py"))
        if re.search(r"model_copy\(\s*update=", path.read_text())
    ]
    assert found == ["shared/changes.py"]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    at: int
    _seen: list[int] = PrivateAttr(default_factory=list)


def test_a_changed_copy_is_in_nothing_else_different_from_pydantics_own() -> None:
    opened = _Open(at=1, colour="red")
    opened._seen.append(3)
    for model in (_Point(at=1), _Point(at=1, value=2.0), opened):
        copied, own = changed(model, at=5), model.model_copy(update={"at": 5})
        assert copied == own
        assert copied.model_fields_set == own.model_fields_set
        assert copied.__pydantic_extra__ == own.__pydantic_extra__
        assert copied.__pydantic_private__ == own.__pydantic_private__
        assert model.at == 1
    assert changed(opened, at=5)._seen == [3]
