"""Changed copies of records: names and values are checked, which ``model_copy`` does not do."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.changes import with_changes


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
