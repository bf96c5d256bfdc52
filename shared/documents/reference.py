"""Reference pages in Markdown, for people."""

from __future__ import annotations

import re

from shared import topology
from shared.documents.markdown import document, table
from shared.items import ITEMS
from shared.messaging.envelope import event_type
from shared.topology import Principal, Route


def messages_page() -> str:
    """Every message: who publishes it where, who receives it, what it means."""
    rows = []
    for route in topology.ROUTES:
        publishers = [_publisher(route, each) for each in route.publishers]
        publishers += [f"({each}, one day)" for each in route.planned]
        rows.append(
            (
                f"[{route.message.TYPE}](schemas/{event_type(route.message)}.json)",
                "`" + re.sub(r"\{(\w+)\}", r"<\1>", route.key) + "`",
                ", ".join(publishers),
                ", ".join(dict.fromkeys(s.principal for s in route.consumers)),
                f"`{route.outlet}`" if route.outlet else "",
            )
        )
    head = ("message", "routing key", "published by", "received by", "your own queue")
    means = (
        f"- **{route.message.TYPE}**: {' '.join((route.message.__doc__ or '').split())}"
        for route in topology.ROUTES
    )
    return document("# Messages", *_INTRODUCTION, table(head, rows), "\n".join(means), _ALERT_KEYS)


_INTRODUCTION = (
    (
        "All messages, in the order in which they flow. Bodies are JSON; the schemas are in "
        "[schemas/](schemas/), and the AsyncAPI 3 document is [asyncapi.json](asyncapi.json)."
    ),
    "![Who publishes what to whom](dataflow.svg)",
    (
        "Each service publishes to its own exchange, `from.<service>`. Any client may publish to"
        ' the exchanges named after "any client", and bind its own queue `outside.*` to those in'
        ' the column "your own queue".'
    ),
)
_ALERT_KEYS = """\
## Routing keys of alerts

`alert.<state>.<severity>.<family>.<source>` on exchange `alerts`:

| word | values |
|---|---|
| state | `predicted`, `firing`, `resolved` |
| severity | `info`, `warning`, `critical` |
| family | `cpu`, `memory`, `disk`, `net`, `load`, `host`, `time`, `other` |
| source | the machine; dots and other separators are written as `-` |

Bind a queue of your own with a pattern: `alert.*.critical.#` for everything critical,
`alert.predicted.*.disk.*` for disks that will be full, `alert.#.host17` for one machine."""


def items_page() -> str:
    """Every item of the catalogue."""
    rows = []
    for item in ITEMS.values():
        alarm = "" if item.threshold is None else f"{'>' if item.above else '<'} {item.threshold:g}"
        bursts = "yes" if item.bursts else ""
        rows.append(
            (item.name, item.family, item.unit, item.behaviour, alarm, bursts, item.description),
        )
    head = ("item", "family", "unit", "behaviour", "alarm", "bursts", "meaning")
    return document("# Items", table(head, rows), _BURSTS)


_BURSTS = """\
Items that come in bursts are beyond their threshold for moments in ordinary work. Their alarms
need `burst_confirm_s` of [the detector's settings](settings.md) instead of `alarm_confirm_s`, and
are not raised in the first `startup_s` of a machine's agent."""


def _publisher(route: Route, principal: Principal) -> str:
    if principal is Principal.OUTSIDE:
        return f"any client (`{route.inbox}`)"
    return str(principal)
