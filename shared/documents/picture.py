"""The data-flow picture, drawn from the topology."""

from __future__ import annotations

from html import escape

from shared import topology
from shared.topology import PARTITION_CONSUMERS, PARTITION_PUBLISHER, Principal

_W, _H = 1340, 780
_BOX_W, _BOX_H = 150, 54
_P = Principal
_SUBSCRIBERS = "subscribers"
_PLACE = {
    _P.CLIENT: (40, 160),
    _P.OUTSIDE: (40, 360),
    _P.AGENT: (40, 660),
    _P.TASK: (560, 60),
    _P.DETECTOR: (560, 400),
    _P.PREDICTOR: (560, 540),
    _P.AUTOSPEC: (1080, 40),
    _P.MEMBER: (1080, 250),
    _SUBSCRIBERS: (1080, 420),
    _P.HEALER: (1080, 660),
}
_TITLE = {
    _P.OUTSIDE: "any AMQP client",
    _P.MEMBER: "job containers",
    _P.AGENT: "node agent",
    _SUBSCRIBERS: "your own queues",
}
_STYLE = (
    "text{font-family:ui-sans-serif,system-ui,sans-serif;fill:#1b2733}"
    ".n{font-size:15px;font-weight:600}.m{font-size:11px;fill:#44566a}"
    "text.m{paint-order:stroke;stroke:#fff;stroke-width:4px}"
    "rect{fill:#eef4fa;stroke:#2c5f8a;stroke-width:1.5}"
    ".o{fill:#fff7e6;stroke:#b98000}path{fill:none;stroke:#7a93ab;stroke-width:1.4}"
)


def dataflow_svg() -> str:
    """An SVG: a box per principal, an arrow per pair with the messages that go that way."""
    arrows = "\n".join(
        _arrow(source, target, names) for (source, target), names in _edges().items()
    )
    boxes = "\n".join(_box(principal) for principal in _PLACE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_W} {_H}" role="img"'
        ' aria-label="Who publishes what to whom">\n'
        f"<style>{_STYLE}</style>\n"
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" style="fill:#7a93ab"/>'
        "</marker></defs>\n"
        f'<rect x="0" y="0" width="{_W}" height="{_H}" style="fill:#fff;stroke:none"/>\n'
        f"{arrows}\n{boxes}\n</svg>\n"
    )


def _edges() -> dict[tuple[str, str], list[str]]:
    edges: dict[tuple[str, str], list[str]] = {}
    for route in topology.ROUTES:
        for publisher in route.publishers:
            for sub in route.consumers:
                pair = (publisher, sub.principal)
                edges.setdefault(pair, []).append(route.message.TYPE)
            if route.outlet:
                edges.setdefault((publisher, _SUBSCRIBERS), []).append(route.message.TYPE)
    for consumer in PARTITION_CONSUMERS:
        if consumer is not PARTITION_PUBLISHER:
            edges.setdefault((PARTITION_PUBLISHER, consumer), []).append("sample streams")
    return {pair: names for pair, names in edges.items() if pair[0] in _PLACE}


def _box(principal: str) -> str:
    x, y = _PLACE[principal]
    style = ' class="o"' if principal in _TITLE else ""
    return (
        f'<rect{style} x="{x}" y="{y}" width="{_BOX_W}" height="{_BOX_H}" rx="9"/>'
        f'<text class="n" text-anchor="middle" x="{x + _BOX_W // 2}" y="{y + 33}">'
        f"{escape(_TITLE.get(principal, principal))}</text>"
    )


def _arrow(source: str, target: str, names: list[str]) -> str:
    (x1, y1), (x2, y2) = _PLACE[source], _PLACE[target]
    label = _shortened(names)
    # The two ways between a pair run side by side, so that both can be read.
    shift = 14 if (str(source) < str(target)) else -14
    cx1, cy1, cx2, cy2 = x1 + _BOX_W / 2, y1 + _BOX_H / 2, x2 + _BOX_W / 2, y2 + _BOX_H / 2
    start: tuple[float, float]
    end: tuple[float, float]
    if x1 == x2:
        start = (cx1 + 2 * shift, y1 + (_BOX_H if y2 > y1 else 0))
        end = (cx2 + 2 * shift, y2 + (0 if y2 > y1 else _BOX_H))
    else:
        start = (x1 + (_BOX_W if x2 > x1 else 0), cy1 + shift)
        end = (x2 + (0 if x2 > x1 else _BOX_W), cy2 + shift)

    # Nearer to the sender: arrows meet at their ends, not at their beginnings.
    def at(axis: int) -> float:
        return start[axis] + 0.42 * (end[axis] - start[axis])

    path = f'<path d="M{start[0]:g} {start[1]:g} L{end[0]:g} {end[1]:g}" marker-end="url(#a)"/>'
    if x1 == x2:
        side = 62 if shift > 0 else -62
        return path + _label(start[0] + side, (start[1] + end[1]) / 2 + 4, label)
    return path + _label(at(0), at(1) + shift, label)


def _shortened(names: list[str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        head, _, tail = name.partition(".")
        groups.setdefault(head, []).append(tail)
    return [
        f"{head}.{{{','.join(tails)}}}"
        if len(tails) > 1
        else ".".join(filter(None, (head, *tails)))
        for head, tails in groups.items()
    ]


def _label(x: float, y: float, lines: list[str]) -> str:
    wrapped = [piece for line in lines for piece in _wrap(line)]
    top = y - 6.5 * (len(wrapped) - 1) + 4
    return "".join(
        f'<text class="m" text-anchor="middle" x="{x:g}" y="{top + 13 * i:g}">{escape(t)}</text>'
        for i, t in enumerate(wrapped)
    )


def _wrap(line: str, width: int = 46) -> list[str]:
    pieces = [""]
    for part in line.replace(",", ",\u200b").split("\u200b"):
        if pieces[-1] and len(pieces[-1]) + len(part) > width:
            pieces.append("")
        pieces[-1] += part
    return pieces
