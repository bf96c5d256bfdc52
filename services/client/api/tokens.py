"""Named tokens over HTTP: an admin creates, lists and revokes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Path
from pydantic import AwareDatetime, BaseModel, Field

from services.client.access import CALLER
from services.client.api.dependencies import Provided
from services.client.api.faults import Faults, refusal
from services.client.records import Token
from services.client.tokens import NameTaken, caller_of
from shared.contracts import ProjectName
from shared.roles import Role
from shared.visible import visible

log = structlog.get_logger(__name__)
TokenId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", max_length=16)]


class TokenAsked(BaseModel):
    """A request for a new token."""

    name: str = Field(
        min_length=1, max_length=200, description="The name of its holder, which decisions carry."
    )
    role: Role = Field(default=Role.VIEWER, description="The role of its holder.")
    projects: list[ProjectName | Literal["*"]] = Field(
        default=[],
        max_length=100,
        description="The projects it is for; * is every one, none the default project. An admin's"
        " is for every one.",
    )
    days: int = Field(default=90, ge=1, le=3660, description="The number of days until it expires.")


class TokenShown(BaseModel):
    """A token without its secret."""

    id: str
    name: str
    role: Role
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime
    projects: list[str]


class TokenMade(TokenShown):
    """A new token."""

    token: str = Field(
        description="The token that its holder presents; it is shown now and never again."
    )


routes = APIRouter(
    prefix="/tokens",
    tags=["tokens"],
    responses={409: {"model": Faults}, 422: {"model": Faults}},
)


@routes.post("", status_code=201)
def create(client: Provided, asked: TokenAsked) -> TokenMade:
    """Create a token with a name and a role."""
    if not client.settings.api_token.get_secret_value():
        raise refusal(409, "no token is required here: set BAROGRAPH_CLIENT_API_TOKEN")
    name, by = " ".join(visible(asked.name).split()), CALLER.get().name
    if not name:
        raise refusal(422, "it must have a visible character", "name")
    try:
        made, presented = client.tokens.create(
            name, asked.role, asked.projects, asked.days, by, datetime.now(UTC)
        )
    except NameTaken as error:
        raise refusal(409, str(error), "name") from None
    shown = _shown(made)
    described = {"name": name, "role": made.role, "projects": shown["projects"]}
    log.info("token_created", token=made.id, by=by, **described)
    return TokenMade(**shown, token=presented)


@routes.get("")
def listed(client: Provided) -> list[TokenShown]:
    """Every token that has not been revoked, by name; an expired one is kept for a month."""
    return [TokenShown(**_shown(each)) for each in client.tokens.all()]


@routes.delete("/{token_id}", status_code=204)
def revoke(client: Provided, token_id: TokenId) -> None:
    """End a token now, and every session that was begun with it."""
    if not client.tokens.revoke(token_id):
        raise refusal(404, "there is no such token", "token_id")
    log.info("token_revoked", token=token_id, by=CALLER.get().name)


def _shown(token: Token) -> dict[str, Any]:
    found = caller_of(token).projects.listed
    return token.model_dump(exclude={"digest"}) | {"projects": found}
