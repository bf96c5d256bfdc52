"""The parts that the routes work with, and how each route gets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from services.healer.handlers import Handlers
from services.healer.notify.channels import Tools
from services.healer.notify.links import Links, Purpose
from services.healer.people.link_actions import Click
from services.healer.settings import HealerSettings
from shared.service import Context, ServiceUnit


@dataclass(frozen=True)
class Healer:
    """The parts that the routes work with."""

    settings: HealerSettings
    handlers: Handlers
    unit: Callable[[], AbstractContextManager[ServiceUnit]]
    context: Callable[..., Context]
    clock: Callable[[], datetime]
    links: Links
    clicks: Mapping[Purpose, Click]
    tools: Tools
    wake: Callable[[], None] = lambda: None


async def _of_app(request: Request) -> Healer:
    healer: Healer = request.app.state.healer
    return healer


Provided: TypeAlias = Annotated[Healer, Depends(_of_app)]
"""The parameter by which a route takes what ``create_app`` was given."""
