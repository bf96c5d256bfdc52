"""Templates as pages: everything shown is escaped, and what nobody can see is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from services.client.alerts.wording import (
    clock,
    crossing_range,
    forecast_sentence,
    number,
    to_the_second,
)
from services.client.settings import ClientSettings
from services.client.spans import span
from shared.contracts import retry_budgets
from shared.visible import finalized

Render = Callable[..., HTMLResponse]
"""``render(template, status=200, here=page, **values)``."""


def renderer(settings: ClientSettings) -> Render:
    """What draws a page from its template's name and values."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        finalize=finalized,
    )
    templates.filters |= {
        "clock": clock,
        "crossing_range": crossing_range,
        "forecast_sentence": forecast_sentence,
        "mebibytes": lambda size: f"{size / 2**20:.0f}Mi",
        "number": number,
        "retry_budgets": retry_budgets,
        "span": span,
        "to_the_second": to_the_second,
    }

    def render(name: str, status: int = 200, here: str = "", **values: Any) -> HTMLResponse:
        values |= {"has_mail": settings.maildir is not None, "here": here}
        return HTMLResponse(templates.get_template(name).render(values), status)

    return render
