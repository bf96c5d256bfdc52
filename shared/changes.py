"""Copies of models with some fields changed, whose names are always checked.

pydantic's ``model_copy`` checks neither names nor values: a misspelt field would be stored beside
the right one, and a value of another type would only fail when it is read again.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)
_set = object.__setattr__
"""Of frozen models, too."""


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
    again for each of them. It is ``model_copy`` without its detours, which take most of its time:
    an alert is changed a dozen times until it is stored.

    Raises:
        ValueError: a name is no field of the model.
    """
    if fault := _misspelt(model, fields.keys()):
        raise ValueError(fault)
    if model.__pydantic_extra__ is not None or model.__pydantic_private__ is not None:
        return model.model_copy(update=fields)
    copied = object.__new__(type(model))
    _set(copied, "__dict__", model.__dict__ | fields)
    _set(copied, "__pydantic_fields_set__", model.__pydantic_fields_set__ | fields.keys())
    _set(copied, "__pydantic_extra__", None)
    _set(copied, "__pydantic_private__", None)
    return copied


def _misspelt(model: BaseModel, names: AbstractSet[str]) -> str:
    """The names that are no fields of the model, in a sentence; '' for none."""
    known = type(model).__pydantic_fields__.keys()
    if known >= names:
        return ""
    return f"{type(model).__name__} has no field {', '.join(sorted(names - known))}"
