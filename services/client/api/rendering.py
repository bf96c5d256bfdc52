"""Renders templates: escapes everything shown, and leaves out what the caller may not see."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from services.client.access import CALLER, STRANGER
from services.client.alerts.chain import LinkState
from services.client.alerts.wording import (
    ago,
    clock,
    forecast_sentence,
    measured,
    number,
    to_the_second,
)
from services.client.sessions import CURRENT
from services.client.settings import ClientSettings
from services.client.spans import span
from services.client.spelling import also_spelt
from services.client.usage_plot import memory_text
from shared.contracts import FailureClass, retry_budgets
from shared.quantity import counted, quantity
from shared.roles import Role
from shared.visible import finalized, visible

Render = Callable[..., HTMLResponse]
"""``render(template, status, here=page, **values)``."""
ADDRESS: ContextVar[tuple[str, str]] = ContextVar("address", default=("/", ""))
"""Path and query of the request that is being answered."""

_JOINTS = re.compile(r"[./_-]")

SAID = {
    "acknowledge": "Acknowledged; it shows here as soon as the healer has taken it.",
    "cancel": "Cancelling; what the jobs have done so far is stored.",
    "remove": "Removing the jobs with their logs and results.",
    "judge": "Recorded as not an anomaly: the detector raises its limit for this series.",
    "judge-back": "Recorded as an anomaly: the detector restores its limit for this series.",
    "approve": "Approved; carried out if the alarm persists and the policy's limits allow it.",
    "refuse": "Refused.",
    "stop": "Healing is stopped there.",
    "resume": "Healing is resumed there.",
    "silence": "The silence is active. It can be ended on the page Silences.",
    "unsilence": "The silence has expired; people are notified of what it held back.",
    "rule": "Decided; the change shows here as soon as the healer has taken it.",
    "channel": "The channel accepted a test notice.",
}
"""The sentence on a page after a form was taken."""
_HANDLINGS = {
    "none": "observed only",
    "mail": "people are notified",
    "approve": "a person approves each action",
    "automatic": "automatic, within the policy's limits",
}
_LINK_STATES = {
    LinkState.DONE: "done",
    LinkState.WAITS: "now",
    LinkState.WRONG: "attention",
    LinkState.AHEAD: "to come",
    LinkState.LEFT_OUT: "none",
}
_CAUSES = {
    FailureClass.USER_ERROR: "program errors",
    FailureClass.INFRASTRUCTURE: "infrastructure failures",
    FailureClass.PREEMPTION: "preemptions",
    FailureClass.OOM: "running out of memory",
    FailureClass.TIMEOUT: "timeouts",
    FailureClass.UNKNOWN: "unknown failures",
}


def renderer(settings: ClientSettings) -> Render:
    """The function that draws a page from its template's name and values."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        finalize=finalized,
    )
    templates.globals |= _TABLES
    templates.filters |= _FILTERS

    has_healer = bool(
        (settings.healer_api_url or settings.healer_url)
        and settings.healer_token.get_secret_value()
    )

    # The template's name is positional only: a page may well show a value called ``template``.
    def render(template: str, status: int = 200, /, here: str = "", **values: Any) -> HTMLResponse:
        values |= {"has_mail": settings.maildir is not None, "here": here}
        values |= {"session": CURRENT.get(), "has_healer": has_healer}
        values |= {"has_provider": bool(settings.oidc_issuer), "stranger": CALLER.get() is STRANGER}
        values |= _by_role() | _of_address(ADDRESS.get())
        return HTMLResponse(templates.get_template(template).render(values), status)

    return render


def _breakable(name: str) -> Markup:
    """A name that may be broken after the dots, slashes and dashes in it, and nowhere else."""
    return Markup(_JOINTS.sub(r"\g<0><wbr>", str(escape(visible(name)))))  # noqa: S704 - escaped


_TABLES = {"cause_words": _CAUSES, "handling_words": _HANDLINGS, "link_words": _LINK_STATES}
"""The tables of words that every template may use."""
_FILTERS: dict[str, Callable[..., object]] = {
    "ago": ago,
    "also_spelt": also_spelt,
    "breakable": _breakable,
    "bytes_text": lambda size: quantity(size, "bytes"),
    "measured": measured,
    "clock": clock,
    "counted": counted,
    "expected": lambda episode: forecast_sentence(episode, today=datetime.now(UTC).date()),
    "forecast_sentence": forecast_sentence,
    "mebibytes": lambda size: f"{size / 2**20:.0f}Mi",
    "memory_text": memory_text,
    "number": number,
    "retry_budgets": retry_budgets,
    "span": span,
    "to_the_second": to_the_second,
}
"""The functions by which a template writes a value, by their names there."""


def _by_role() -> dict[str, Any]:
    """Return what a template may offer to the caller, by the caller's role and session."""
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
