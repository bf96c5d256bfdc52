"""Copies of models with some fields changed, whose names are always checked.

pydantic's ``model_copy`` checks neither names nor values: a misspelt field would be stored beside
the right one, and a value of another type would only fail when it is read again.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


def with_changes(record: T, **fields: Any) -> T:
    """A copy with these fields changed, checked as a new record would be.

    Raises:
        TypeError: a name is no field of the record.
        pydantic.ValidationError: a value does not fit its field.
    """
    if fault := _misspelt(record, fields.keys()):
        raise TypeError(fault)
    return type(record).model_validate({**dict(record), **fields})


def changed(model: T, **fields: object) -> T:
    """A copy with these fields changed, whose values are taken as they are.

    For values that typed code has made, where a whole incident or all settings would be checked
    again for each of them.

    Raises:
        ValueError: a name is no field of the model.
    """
    if fault := _misspelt(model, fields.keys()):
        raise ValueError(fault)
    return model.model_copy(update=fields)


def _misspelt(model: BaseModel, names: AbstractSet[str]) -> str:
    """The names that are no fields of the model, in a sentence; '' for none."""
    known = type(model).__pydantic_fields__.keys()
    if known >= names:
        return ""
    return f"{type(model).__name__} has no field {', '.join(sorted(names - known))}"
