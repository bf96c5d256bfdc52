"""Reads an identity provider's claims, nested ones too; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_GROUPS = 1_000


def claim_at(claims: Mapping[str, Any], way: str) -> Any:
    """The claim of this name, or below it as ``realm_access.roles``; None for none."""
    if way in claims:
        return claims[way]
    found: Any = claims
    for part in way.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def texts_of(claim: Any) -> list[str]:
    """The texts in a claim that may be one or a list of them; a bounded number."""
    listed = claim if isinstance(claim, list) else [claim]
    return [each for each in listed[:_MAX_GROUPS] if isinstance(each, str)]
