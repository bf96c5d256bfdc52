"""``barograph tokens``: tokens with a name and a role, for people and programs."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer

from shared.cli.apis import call_client, fail
from shared.cli.options import AsJson, State
from shared.cli.rows import show_rows
from shared.embedded.stackfile import DEFAULT_STATE
from shared.roles import Role
from shared.visible import visible

app = typer.Typer(
    no_args_is_help=True,
    help="Create, list and revoke tokens with a name and a role, for people and programs.",
)


Url = Annotated[
    str,
    typer.Option(
        "--client",
        envvar="BAROGRAPH_URL",
        help="The address of Barograph's API, instead of the running stack's.",
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
    name: Annotated[
        str,
        typer.Argument(help="The holder's name, which appears in decisions and in the audit log."),
    ],
    role: Annotated[Role, typer.Option(help="The role of its holder.")] = Role.VIEWER,
    project: Annotated[
        list[str] | None,
        typer.Option(
            help="A project in which the token is valid, * for all; may be given several times. "
            "The default is the project default; an admin's token is valid in all."
        ),
    ] = None,
    days: Annotated[
        int, typer.Option(help="The number of days until it expires.", min=1, max=3660)
    ] = 90,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Create a token and print it; it is shown only once."""
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
    """List all tokens that have not been revoked, by name."""
    rows = call_client("GET", "tokens", state, url, token)
    columns = ("id", "name", "role", "projects", "expires_at", "created_by")
    show_rows(rows, as_json, columns, nothing="no token has been created")


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id, as `tokens list` shows it.")],
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """End a token now, and every session that was begun with it."""
    if not re.fullmatch(r"[0-9a-f]{16}", token_id):
        fail(f"{visible(token_id)} is no token's id; see `barograph tokens list`")
    call_client("DELETE", f"tokens/{token_id}", state, url, token)
    typer.echo("revoked")
