"""``python -m services.client`` runs the service."""

from __future__ import annotations

import sys

from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.client")
    from services.client.main import main

    sys.exit(main())
