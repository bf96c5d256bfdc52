"""``python -m tests.hostile.fuzz``: counts as JSON in the last line, status 1 for a violation."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from structlog.testing import capture_logs

from tests.hostile.fuzz import door as doors
from tests.hostile.fuzz.every import DOORS

_KEPT = Path("build/fuzz")


def fuzz(
    seconds: Annotated[float, typer.Option(help="For all doors together.", min=0)] = 600,
    seed: Annotated[int | None, typer.Option(help="The seed of all inputs.")] = None,
    door: Annotated[
        list[str] | None, typer.Option(help=f"A door to fuzz: {', '.join(DOORS)}.")
    ] = None,
    again: Annotated[Path | None, typer.Option(help="A kept input, tried once more.")] = None,
    kept: Annotated[Path, typer.Option(help="Where an input that broke a door goes.")] = _KEPT,
) -> None:
    """Try made-up input at every door, until the first violation."""
    if again is not None:
        name, parts = doors.kept(again)
        print(DOORS[name]().enter(parts))
        return
    chosen = door or list(DOORS)
    unknown = sorted(set(chosen) - set(DOORS))
    if unknown:
        raise typer.BadParameter(f"there is no door {', '.join(unknown)}")
    seed = secrets.randbelow(2**32) if seed is None else seed
    told: dict[str, object] = {}
    tried, broken = 0, ""
    for name in chosen:
        with capture_logs():
            counts = doors.attack(DOORS[name], seconds / len(chosen), seed, kept)
        told[name] = counts.shown()
        tried += counts.tried
        print(f"{name}: {counts.tried} tried, {dict(counts.ended)}", file=sys.stderr)
        if counts.kept:
            broken = counts.kept
            print(json.loads(Path(broken).read_text())["why"], file=sys.stderr)
            break
    print(json.dumps({"seed": seed, "tried": tried, "kept": broken, "doors": told}))
    raise typer.Exit(bool(broken))


if __name__ == "__main__":
    typer.run(fuzz)
