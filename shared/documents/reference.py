"""Reference pages in Markdown, for people."""

from __future__ import annotations

import re

from shared import topology
from shared.documents.markdown import NOTE
from shared.items import ITEMS
from shared.messaging.envelope import event_type
from shared.topology import Principal, Route


def messages_page() -> str:
    """Every message: who publishes it where, who receives it, what it means."""
    lines = [
        NOTE,
        "# Messages",
        "",
        (
            "In flow order. Bodies are JSON; their schemas lie in [schemas/](schemas/), the whole"
            " as AsyncAPI 3 in [asyncapi.json](asyncapi.json)."
        ),
        "",
        "![Who publishes what to whom](dataflow.svg)",
        "",
        (
            "Each service publishes to an exchange of its own, `from.<service>`. Any client may"
            ' publish to the exchanges named behind "any client", and bind a queue `outside.*` of'
            ' its own to those in the column "your own queue".'
        ),
        "",
        "| message | routing key | published by | received by | your own queue |",
        "|---|---|---|---|---|",
    ]
    for route in topology.ROUTES:
        name = event_type(route.message)
        key = re.sub(r"\{(\w+)\}", r"<\1>", route.key)
        publishers = [_publisher(route, each) for each in route.publishers]
        publishers += [f"({each}, one day)" for each in route.planned]
        consumers = ", ".join(dict.fromkeys(s.principal for s in route.consumers))
        link = f"[{route.message.TYPE}](schemas/{name}.json)"
        outlet = f"`{route.outlet}`" if route.outlet else ""
        cells = (link, f"`{key}`", ", ".join(publishers), consumers, outlet)
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for route in topology.ROUTES:
        doc = " ".join((route.message.__doc__ or "").split())
        lines.append(f"- **{route.message.TYPE}**: {doc}")
    return "\n".join([*lines, "", _ALERT_KEYS])


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
`alert.predicted.*.disk.*` for disks that will be full, `alert.#.host17` for one machine.
"""


def items_page() -> str:
    """Every item of the catalogue."""
    lines = [
        NOTE,
        "# Items",
        "",
        "| item | family | unit | behaviour | alarm | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for item in ITEMS.values():
        alarm = "" if item.threshold is None else f"{'>' if item.above else '<'} {item.threshold:g}"
        lines.append(
            f"| {item.name} | {item.family} | {item.unit} | {item.behaviour} | {alarm} |"
            f" {item.description} |"
        )
    return "\n".join([*lines, ""])


def _publisher(route: Route, principal: Principal) -> str:
    if principal is Principal.OUTSIDE:
        return f"any client (`{route.inbox}`)"
    return str(principal)
