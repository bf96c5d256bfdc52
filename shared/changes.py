"""Copies of frozen records with some fields changed."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


def with_changes(record: T, **fields: Any) -> T:
    """A copy with these fields changed, checked as a new record would be.

    pydantic's ``model_copy`` checks neither names nor values: a misspelt field would be stored
    beside the right one, and a value of another type would only fail when it is read again.

    Raises:
        TypeError: a name is no field of the record.
        pydantic.ValidationError: a value does not fit its field.
    """
    if unknown := sorted(fields.keys() - type(record).model_fields.keys()):
        raise TypeError(f"{type(record).__name__} has no field {', '.join(unknown)}")
    return type(record).model_validate({**dict(record), **fields})
