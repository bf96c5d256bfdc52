"""Wiring of the rendezvous service."""

from __future__ import annotations

from services.autospec import handlers
from services.autospec.settings import AutospecSettings
from shared.contracts import PodReported, RendezvousClose, RendezvousOpen
from shared.service import Periodic, Service
from shared.settings import start
from shared.store import opened


def build(settings: AutospecSettings) -> Service:
    """The service, ready to start."""

    def expire() -> None:
        with service.unit() as unit:
            unit.emit(*handlers.expire(service.context(unit.records)))

    service = Service(
        "autospec",
        settings,
        handlers={
            RendezvousOpen: handlers.rendezvous_open,
            PodReported: handlers.pod_reported,
            RendezvousClose: handlers.rendezvous_close,
        },
        store=opened(settings.store_url.get_secret_value()),
        periodic=[Periodic("expire", 1.0, expire)],
    )
    return service


def main() -> int:
    """Run until a signal asks for the end; the exit status is ``settings.start``'s."""
    return start(AutospecSettings, "autospec", lambda settings: build(settings).run())
