"""``python -m services.healer``; with ``test-channel NAME`` only a test of that channel."""

from __future__ import annotations

import sys

_TEST = ["test-channel"]

if __name__ == "__main__":
    if sys.argv[1:2] == _TEST:
        from services.healer.testing import test_channel

        sys.exit(test_channel(sys.argv[2:]))
    from services.healer.main import run

    sys.exit(run())
