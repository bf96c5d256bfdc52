"""Templates as pages: everything shown is escaped, and what nobody can see is left out."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from services.client.access import CALLER
from services.client.alerts.wording import (
    clock,
    crossing_range,
    forecast_sentence,
    number,
    to_the_second,
)
from services.client.sessions import CURRENT
from services.client.settings import ClientSettings
from services.client.spans import span
from services.client.usage_plot import memory_text
from shared.contracts import retry_budgets
from shared.roles import Role
from shared.visible import finalized

Render = Callable[..., HTMLResponse]
"""``render(template, status, here=page, **values)``."""
ADDRESS: ContextVar[tuple[str, str]] = ContextVar("address", default=("/", ""))
"""Path and query of the request that is being answered."""

SAID = {
    "acknowledge": "Acknowledged; shown here as soon as the healer has it.",
    "judge": "Noted as not an anomaly: the detector moves its limit for the series.",
    "judge-back": "Noted as an anomaly: the detector takes back the limit it had moved.",
    "approve": "Approved; the healer carries it out if the alarm lasts and its limits allow it.",
    "refuse": "Refused.",
    "stop": "Healing is stopped there, at once.",
    "resume": "Healing goes on there.",
    "silence": "The silence holds.",
    "unsilence": "The silence has ended; people are notified of what it held back.",
    "rule": "Decided; the rule is shown as the healer has it.",
    "channel": "The channel took a test.",
}
"""The sentence on a page after a form was taken."""


def renderer(settings: ClientSettings) -> Render:
    """The function that draws a page from its template's name and values."""
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
        "memory_text": memory_text,
        "number": number,
        "retry_budgets": retry_budgets,
        "span": span,
        "to_the_second": to_the_second,
    }

    has_healer = bool(
        (settings.healer_api_url or settings.healer_url)
        and settings.healer_token.get_secret_value()
    )

    # The template's name is positional only: a page may well show a value called ``template``.
    def render(template: str, status: int = 200, /, here: str = "", **values: Any) -> HTMLResponse:
        values |= {"has_mail": settings.maildir is not None, "here": here}
        values |= {"session": CURRENT.get(), "has_healer": has_healer}
        values["has_provider"] = bool(settings.oidc_issuer)
        values |= _by_role() | _of_address(ADDRESS.get())
        return HTMLResponse(templates.get_template(template).render(values), status)

    return render


def _by_role() -> dict[str, Any]:
    """Whether what is shown may also be done: the session of who may decide, and the rest."""
    session, caller = CURRENT.get(), CALLER.get()
    return {
        "decider": session if session and session.role.allows(Role.OPERATOR) else None,
        "submits": caller.role.allows(Role.SUBMITTER),
        "administers": caller.role.allows(Role.ADMIN),
        "reads_mail": caller.role.allows(Role.OPERATOR),
    }


def _of_address(address: tuple[str, str]) -> dict[str, str]:
    """The sentence about the form that led here, and the way back here for the next one."""
    path, query = address
    fields = dict(parse_qsl(query))
    said = SAID.get(fields.pop("said", ""), "")
    return {"said": said, "way": f"{path}?{urlencode(fields)}" if fields else path}
