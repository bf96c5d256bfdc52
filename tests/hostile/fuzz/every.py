"""All doors, by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.hostile.fuzz import files, messages, otlp, samples, web
from tests.hostile.fuzz.door import Door

DOORS: dict[str, Callable[[], Door]] = {
    **web.DOORS,
    **messages.DOORS,
    **samples.DOORS,
    **otlp.DOORS,
    **files.DOORS,
}
_KINDS = {
    "http": "requests",
    "messages": "messages",
    "remote": "requests",
    "otlp": "requests",
    "webhooks": "requests",
    "alerts": "requests",
    "sample": "messages",
    "archives": "packages",
    "job": "packages",
}
_SHARES = {"job-files": 3, "archives": 5}
"""Of the inputs of one run, 10 for each other door; these take some ten times as long."""


def kind_of(name: str) -> str:
    """Return what a door is sent: messages, requests, packages, or texts that people write."""
    return _KINDS.get(name.partition("-")[0], "texts")


def share_of(name: str) -> int:
    """A door's weight among the inputs of one run."""
    return _SHARES.get(name, 10)
