"""The page of the settings in force, as each service reports them, secrets masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from services.client.api.dependencies import Provided
from shared.contracts import SettingsAnswered


@dataclass(frozen=True)
class Row:
    """A setting and its value."""

    variable: str
    value: str
    changed: bool
    """True if another replica of the service runs with another value."""


routes = APIRouter(include_in_schema=False)


@routes.get("/settings")
def settings(client: Provided) -> HTMLResponse:
    answers = sorted(client.questions.settings(), key=lambda each: (each.service, each.instance))
    mine = {
        "request_id": "00000000-0000-0000-0000-000000000000",
        "service": "client",
        "instance": client.settings.instance,
        "settings": client.settings.shown(),
    }
    every = [SettingsAnswered.model_validate(mine), *answers]
    services = [(each, _rows(each, every)) for each in every]
    return client.page("settings.html", here="settings", services=services)


def _rows(answer: SettingsAnswered, every: Sequence[SettingsAnswered]) -> list[Row]:
    """A service's settings by name. Replicas should differ only in their instance."""
    others = [each.settings for each in every if each.service == answer.service]
    return [
        Row(
            f"BAROGRAPH_{answer.service}_{name}".upper(),
            value,
            name != "instance" and any(other.get(name) != value for other in others),
        )
        for name, value in sorted(answer.settings.items())
    ]
