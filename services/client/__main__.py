"""``python -m services.client`` runs the service."""

from __future__ import annotations

from shared import entry
from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.client")
    entry.run("services.client.main", service=True)
