"""``barograph tokens``: tokens with a name and a role, for people and programs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from shared.cli_options import AsJson, State
from shared.embedded.stackfile import DEFAULT_STATE
from shared.healer_door import call_client, fail, show_rows
from shared.roles import Role
from shared.visible import visible

app = typer.Typer(no_args_is_help=True, help=__doc__)


Url = Annotated[
    str,
    typer.Option(
        "--client",
        envvar="BAROGRAPH_URL",
        help="The address of Barograph's API, in place of the running stack's.",
    ),
]
Token = Annotated[
    str,
    typer.Option(
        "--token", envvar="BAROGRAPH_TOKEN", help="The API token, or an admin's named token."
    ),
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is; decisions and the audit carry it.")],
    role: Annotated[Role, typer.Option(help="The rights of its holder.")] = Role.VIEWER,
    project: Annotated[
        list[str] | None,
        typer.Option(
            help="A project in which it opens things, * for every one; may be given several times. "
            "By default the project default; an admin's token opens every one."
        ),
    ] = None,
    days: Annotated[int, typer.Option(help="After so many days it ends.", min=1, max=3660)] = 90,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Make a token and print it: it is shown once and not kept."""
    asked = {"name": name, "role": role.value, "projects": project or [], "days": days}
    made = call_client("POST", "tokens", state, url, token, asked)
    if as_json:
        typer.echo(json.dumps(made))
        return
    typer.echo(made["token"])
    until = made["expires_at"][:10]
    projects = ", ".join(made["projects"]).replace("*", "every project")
    told = f"{visible(made['name'])}, {made['role']} of {projects}, until {until}; id {made['id']}"
    typer.echo(told, err=True)


@app.command("list")
def list_tokens(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show every token that was not revoked, by name."""
    rows = call_client("GET", "tokens", state, url, token)
    show_rows(rows, as_json, ("id", "name", "role", "projects", "expires_at", "created_by"))


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id, as `tokens list` shows it.")],
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """End a token now, and every session that was begun with it."""
    if not (len(token_id) < 100 and token_id.isalnum() and token_id.isascii()):  # noqa: PLR2004
        fail(f"{visible(token_id)} is no token's id; see `barograph tokens list`")
    call_client("DELETE", f"tokens/{token_id}", state, url, token)
    typer.echo("revoked")
