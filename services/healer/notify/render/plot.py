"""The plot in a mail: the curve, its band or forecast, the threshold, the crossing."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import matplotlib.dates as mdates
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from services.healer.model.notice import Notice
from services.healer.notify.render.numbers import one_line
from shared.contracts.alerts import BandPoint, Point
from shared.quantity import quantity
from shared.time_zones import at_ms

# Colours like those of Okabe and Ito: the colour-blind tell them apart, on light and dark paper.
_LINE, _NORMAL, _FORECAST, _ALARM = "#2F86C1", "#009E73", "#E69F00", "#D55E00"
_PAPER_AND_INK = {"plot": ("#ffffff", "#1c1e21"), "plot-dark": ("#1d2026", "#e6e8eb")}
"""The pictures of a mail by name; the dark one is on the paper of a mail's card in dark style."""
_INCHES, _DPI = (6.6, 3.2), 400 / 3
_MIN_POINTS = 2


def pngs(notice: Notice) -> dict[str, bytes]:
    """The picture by name, light and dark; none of a notice without points.

    Each is a PNG of 880 x 426 pixels with letters for a telephone.
    """
    points = [p for p in notice.recent if math.isfinite(p.value)]
    if len(points) < _MIN_POINTS:
        return {}
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    times = [_when(p.time_ms) for p in points]
    axes.plot(times, [p.value for p in points], color=_LINE, lw=1.6, label="value", zorder=3)
    axes.plot(times[-1:], [points[-1].value], "o", color=_LINE, ms=4, zorder=4)
    ahead = [b for b in notice.band if b.time_ms > points[-1].time_ms]
    _band(axes, [b for b in notice.band if b not in ahead], _NORMAL, "normal range")
    _band(axes, _fan(points[-1], ahead), _FORECAST, "forecast")
    _marks(axes, notice)
    _effect(axes, points[-1], notice)
    _dress(axes, notice)
    return {name: _printed(canvas, axes, *colours) for name, colours in _PAPER_AND_INK.items()}


def _printed(canvas: FigureCanvasAgg, axes: Axes, paper: str, ink: str) -> bytes:
    """The picture in these colours; the first one printed arranges its parts for all."""
    canvas.figure.set_facecolor(paper)
    axes.set_facecolor(paper)
    axes.spines[:].set_color(ink)
    axes.tick_params(colors=ink)
    for text in axes.findobj(Text):
        text.set_color(ink)
    out = io.BytesIO()
    canvas.print_png(out)
    canvas.figure.set_layout_engine("none")
    return out.getvalue()


def _fan(last: Point, ahead: list[BandPoint]) -> list[BandPoint]:
    """The forecast, opening from the last value."""
    value = last.value
    tip = BandPoint(time_ms=last.time_ms, mean=value, lower=value, upper=value)
    return [tip, *ahead] if ahead else []


def _band(axes: Axes, band: Sequence[BandPoint], colour: str, label: str) -> None:
    band = [b for b in band if all(map(math.isfinite, (b.mean, b.lower, b.upper)))]
    if not band:
        return
    times = [_when(b.time_ms) for b in band]
    lower, upper = [b.lower for b in band], [b.upper for b in band]
    axes.fill_between(times, lower, upper, color=colour, alpha=0.18, lw=0)
    axes.plot(times, [b.mean for b in band], "--", color=colour, lw=1.3, label=label)


def _effect(axes: Axes, last: Point, notice: Notice) -> None:
    """Draw the effect of a remediation on the value."""
    after = notice.after
    if after is None or not math.isfinite(after.value) or after.time_ms <= last.time_ms:
        return
    times, values = [_when(last.time_ms), _when(after.time_ms)], [last.value, after.value]
    label = f"after {_drawable(notice.remediation, 40)}"
    axes.plot(times, values, ":", color=_NORMAL, lw=1.4, label=label)
    axes.plot(times[1:], values[1:], "o", color=_NORMAL, ms=7, zorder=5)


def _marks(axes: Axes, notice: Notice) -> None:
    if notice.threshold is not None:
        side = "above" if notice.above else "below"
        label = f"alarm {side} {_drawable(quantity(notice.threshold, notice.unit), 40)}"
        axes.axhline(notice.threshold, color=_ALARM, lw=1.2, ls="-.", label=label)
    if notice.crossing_ms is not None:
        when = _when(notice.crossing_ms)
        axes.axvline(when, color=_ALARM, lw=1, ls=":", label="predicted crossing")


def _dress(axes: Axes, notice: Notice) -> None:
    axes.set_title(_drawable(notice.series.text(), 90), fontsize=11, loc="left", parse_math=False)
    locator = mdates.AutoDateLocator(tz=UTC, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=UTC))
    axes.set_xlabel("UTC", fontsize=9)
    axes.xaxis.get_offset_text().set_fontsize(9)
    axes.set_ylabel(_drawable(notice.unit, 40), fontsize=9, parse_math=False)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, loc="best")


def _when(time_ms: int) -> Any:
    """A moment as matplotlib takes it, whose types name only numbers."""
    return at_ms(time_ms)


def _drawable(text: str, most: int) -> str:
    """The text in characters that the built-in font has; a label may hold any."""
    return one_line(text, most).encode("latin-1", "replace").decode("latin-1")
