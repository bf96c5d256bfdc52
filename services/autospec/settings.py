"""Settings of the rendezvous service."""

from __future__ import annotations

from shared.settings import ServiceSettings


class AutospecSettings(ServiceSettings):
    """Autospec has no settings of its own: each job brings its deadline."""
