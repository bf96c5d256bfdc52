"""``python -m services.healer``; with ``test-channel NAME`` only a test of that channel, with
``audit-verify FILE [HEAD]`` only a check of an exported audit: its chain, and every decision again.
"""

from __future__ import annotations

import sys

from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.healer", "test-channel NAME", "audit-verify FILE [HEAD]")
    if sys.argv[1:2] == ["test-channel"]:
        from services.healer.channel_test import test_channel

        sys.exit(test_channel(sys.argv[2:]))
    if sys.argv[1:2] == ["audit-verify"]:
        from services.healer.actions.audit import check

        sys.exit(check(sys.argv[2:]))
    from services.healer.main import run

    sys.exit(run())
