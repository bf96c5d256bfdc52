"""The parts that the routes work with, and how each route gets them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from services.client.alerts.model import AlertModel
from services.client.api.dead_letters import DeadLetters
from services.client.api.gpus import GpuCurves
from services.client.api.reach import Reaching
from services.client.api.rendering import Render
from services.client.callers import Callers
from services.client.healer_api import HealerApi
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.oidc import Provider
from services.client.questions import Questions
from services.client.sessions import Attempts
from services.client.settings import ClientSettings
from services.client.tokens import Tokens
from services.client.turns import Turns
from shared.messaging import Publisher
from shared.storage import ObjectStore


@dataclass(frozen=True)
class Client:
    """The parts that the routes work with."""

    settings: ClientSettings
    publisher: Publisher
    model: ReadModel
    alerts: AlertModel
    objects: ObjectStore
    log: Logs
    followers: Followers
    questions: Questions
    page: Render
    tokens: Tokens
    callers: Callers
    healer: HealerApi
    reaching: Reaching
    gpus: GpuCurves
    dead_letters: DeadLetters
    provider: Provider | None = None
    """The identity provider at which people sign in, where there is one."""
    attempts: Attempts = field(default_factory=Attempts)
    """Failed attempts to sign in, by who made them."""
    planning: Turns = field(default_factory=partial(Turns, 4))
    """Plans for pages at a time: each reads a package and waits in a thread for its answer."""
    followed: set[object] = field(default_factory=set)
    """One entry for each log that is being followed."""
    received: set[object] = field(default_factory=set)
    """One entry for each package that is being received."""


async def _of_app(request: Request) -> Client:
    client: Client = request.app.state.client
    return client


Provided: TypeAlias = Annotated[Client, Depends(_of_app)]
"""The parameter by which a route takes what ``create_app`` was given."""
