"""Reasons why a service is not ready, by part; the basis of ``/readyz``."""

from __future__ import annotations

from collections.abc import Iterable

from shared.messaging import Bus, Claim
from shared.service.sharing import Sharing
from shared.service.upkeep import Upkeep


def wrong_of(
    bus: Bus, upkeep: Upkeep | None, sharing: Sharing | None, claims: Iterable[Claim] = ()
) -> dict[str, str]:
    """The reasons, by name; empty while messages are consumed, handled and stored."""
    wrong = {}
    if not bus.ready:
        wrong["broker"] = bus.last_error or "not connected yet"
    if blocked := bus.blocked:
        wrong["publishing"] = f"the broker blocks publishers: {blocked}"
    if refused := next(filter(None, (claim.refused for claim in claims)), ""):
        wrong["queue"] = refused
    if upkeep is not None and upkeep.error:
        wrong["store"] = upkeep.error
    if outage := bus.outage:
        wrong["handling"] = f"waits: {outage}"
    if sharing is not None:
        wrong |= sharing.wrong()
    return wrong
