"""``python -m shared.store``: wait for the database, then bring its schema up to date.

Every service does this at its start; here it is a step of its own, so that an upgrade can be
stopped before any new process runs. The URL comes from BAROGRAPH_STORE_URL; the exit code is 1
when the database does not answer within ``--wait`` seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from shared.store import Store, StoreUnavailable

_PAUSE_S = 1.0


def migrate_when_reachable(url: str, wait_s: float) -> str:
    """Try until the schema is current or the time is over; what was wrong last, or nothing."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            Store(url).close()
        except StoreUnavailable as error:
            if time.monotonic() >= deadline:
                return str(error)
            time.sleep(_PAUSE_S)
        else:
            return ""


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m shared.store", description=__doc__)
    parser.add_argument("--wait", type=float, default=0.0, help="seconds; default: try once")
    wait_s: float = parser.parse_args().wait
    url = os.environ.get("BAROGRAPH_STORE_URL")
    if not url:
        print("BAROGRAPH_STORE_URL is not set", file=sys.stderr)
        return 2
    wrong = migrate_when_reachable(url, wait_s)
    print(f"the database does not answer: {wrong}" if wrong else "the schema is current")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
