"""``barograph doctor``: the command that checks the whole installation."""

from __future__ import annotations

from typing import Annotated

import typer

from shared.cli.apis import Token, Url, ended_by_errors, fail
from shared.cli.options import AsJson, State
from shared.cli.stack import the_stack
from shared.embedded.stackfile import DEFAULT_STATE


def doctor(
    state: State = DEFAULT_STATE,
    health: Annotated[
        list[str] | None,
        typer.Option("--health", help="NAME=URL of a service's probes, instead of a stack's."),
    ] = None,
    healer: Url = "",
    token: Token = "",
    test_notice: Annotated[
        bool, typer.Option(help="Send a test notification through each channel.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check everything from samples to people; exit status 1 if anything is wrong.

    Each channel is sent a test notification; `--no-test-notice` sends none.
    """
    # It needs httpx and a parser of metrics; the other commands start without them.
    from shared.cli.examination import examine, shown
    from shared.client.addresses import Address
    from shared.client.connection import Connection

    if health or healer:
        services = dict(_named_url(text) for text in health or ())
        address = Address(_http(healer), token)
    else:
        stack = the_stack(state)
        services, address = stack.health, Address(stack.healer_url, stack.healer_token)
    with ended_by_errors(), Connection(address) as api:
        findings = list(examine(services, api, test_notice=test_notice))
    typer.echo(shown(findings, as_json=as_json))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _named_url(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals:
        fail(f"{text}: write NAME=URL, e.g. detector=http://10.0.0.7:9090")
    return name, _http(url)


def _http(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        fail(f"{url or 'the healer (--healer)'} is not an http address")
    return url.rstrip("/")
