"""``tshell``: its commands put together. Libraries are imported where they are used, so that
the help is instant.
"""

from __future__ import annotations

import sys

from services.client.tshell import handing, watching  # noqa: F401 - they add their commands
from services.client.tshell.cli import app


def main() -> None:
    """Run a command; end with its documented code."""
    from services.client.tshell.door import Stop  # noqa: PLC0415 - httpx only when needed

    try:
        app()
    except Stop as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.code)
    except KeyboardInterrupt:
        sys.exit(130)
