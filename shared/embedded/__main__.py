"""``python -m shared.embedded DIR`` is the supervisor that ``barograph up`` leaves running."""

from __future__ import annotations

import sys
from pathlib import Path

from shared import entry

if __name__ == "__main__":
    directory = Path(sys.argv[1]).expanduser().resolve()
    entry.run("shared.embedded.supervisor", "main", directory, service=True)
