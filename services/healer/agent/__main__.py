"""``python -m services.healer.agent``; ``audit-verify FILE [HEAD]`` only checks its audit."""

from __future__ import annotations

import sys

from shared import entry
from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.healer.agent", "audit-verify FILE [HEAD]")
    if sys.argv[1:2] == ["audit-verify"]:
        entry.run("services.healer.remediations.audit", "check", sys.argv[2:])
    entry.run("services.healer.agent.main", service=True)
