"""``python -m shared.store``: the schema of a service's database, and what its outbox set aside.

The URL comes from BAROGRAPH_STORE_URL. Without a command the schema is brought up to date: every
service does this at start; here it is a step of its own, so that an upgrade can be stopped
before any new process runs. The exit code is 1 when the database does not answer within ``--wait``
seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from shared.setting_names import SettingsError
from shared.store import Queued, StoreUnavailable, opened


def shown(queued: Queued) -> dict[str, object]:
    """A message that was set aside, for people and programs."""
    return {
        "id": queued.id,
        "reason": queued.set_aside,
        "exchange": queued.exchange,
        "routing_key": queued.routing_key,
        "message_id": queued.message_id,
        "headers": queued.headers,
        "body": queued.body.decode("utf-8", "replace"),
    }


def main() -> int:
    """The program."""
    options = _options()
    url = os.environ.get("BAROGRAPH_STORE_URL")
    if not url:
        print("BAROGRAPH_STORE_URL is not set", file=sys.stderr)
        return 2
    try:
        store = opened(url, options.wait)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except StoreUnavailable as error:
        print(error)
        return 1
    if options.command == "set-aside":
        for queued in store.those_set_aside():
            print(json.dumps(shown(queued)))
    elif options.command == "retry":
        store.retry(options.id)
    elif options.command == "drop":
        store.sent(options.id)
    else:
        print("the schema is current")
    store.close()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m shared.store", description=__doc__)
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        help="The seconds to wait for the database; default: one try.",
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("set-aside", help="Show messages of the outbox that cannot be published.")
    for name, what in (("retry", "let the service send them once more"), ("drop", "forget them")):
        command = commands.add_parser(name, help=what)
        command.add_argument(
            "id", type=int, nargs="+", help="The number of a message, as set-aside shows it."
        )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
