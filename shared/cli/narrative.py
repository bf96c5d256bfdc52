"""Prints an alert's narrative from the healer's API."""

from __future__ import annotations

import re
from typing import Any

import typer

from shared.visible import visible

_ALERT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_alert(text: str) -> bool:
    """Return whether it is an alert's id, and not the name of a machine."""
    return _ALERT_ID.fullmatch(text) is not None


def tell(story: dict[str, Any]) -> None:
    """One alert's story as lines of text."""
    series = story["series"]
    labels = "".join(f" {name}={value}" for name, value in sorted(series["labels"].items()))
    typer.echo(visible(f"{series['item']} on {series['host']}{labels}  {story['alert_id']}"))
    held = f", {story['held_by']} until {story['until']}" if story["held_by"] else ""
    typer.echo(
        visible(f"  {story['severity']} {story['state']}; now: {story['notification']}{held}")
    )
    typer.echo(visible(f"  {story['opening']}"))
    for fact in story["facts"]:
        typer.echo(visible(f"  {fact['at']}  {fact['sentence']}"))
        for delivery in fact["deliveries"]:
            words = " ".join(str(delivery[name]) for name in ("channel", "recipient", "status"))
            typer.echo(visible(f"      {words} {delivery['problem']}".rstrip()))
