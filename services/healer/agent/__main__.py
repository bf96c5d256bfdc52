"""``python -m services.healer.agent``; ``audit-verify FILE [HEAD]`` only checks its audit."""

from __future__ import annotations

import sys

from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.healer.agent", "audit-verify FILE [HEAD]")
    if sys.argv[1:2] == ["audit-verify"]:
        from services.healer.remediations.audit import check

        sys.exit(check(sys.argv[2:]))
    from services.healer.agent.main import main

    sys.exit(main())
