"""``python -m services.healer``; with ``test-channel NAME`` only a test of that channel, with
``audit-verify FILE [HEAD]`` only a check of an exported audit: its chain, and every decision again.
"""

from __future__ import annotations

import sys

from shared import entry
from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.healer", "test-channel NAME", "audit-verify FILE [HEAD]")
    if sys.argv[1:2] == ["test-channel"]:
        entry.run("services.healer.channel_test", "test_channel", sys.argv[2:])
    if sys.argv[1:2] == ["audit-verify"]:
        entry.run("services.healer.actions.audit", "check", sys.argv[2:])
    entry.run("services.healer.main", "run", service=True)
