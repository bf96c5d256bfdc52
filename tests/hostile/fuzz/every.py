"""All doors, by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.hostile.fuzz import files, messages, samples, web
from tests.hostile.fuzz.door import Door

DOORS: dict[str, Callable[[], Door]] = {
    **web.DOORS,
    **messages.DOORS,
    **samples.DOORS,
    **files.DOORS,
}
