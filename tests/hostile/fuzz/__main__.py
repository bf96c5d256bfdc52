"""``python -m tests.hostile.fuzz``: counts as JSON in the last line, status 1 for a violation."""

from __future__ import annotations

import json
import secrets
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tests.hostile.fuzz import door as doors
from tests.hostile.fuzz.door import Counts
from tests.hostile.fuzz.every import DOORS, kind_of
from tests.hostile.fuzz.running import bounds, tried

_KEPT = Path("build/fuzz")


def fuzz(
    seconds: Annotated[float, typer.Option(help="For all doors together.", min=0)] = 600,
    inputs: Annotated[
        int, typer.Option(help="So many for all doors together, however long it takes.", min=0)
    ] = 0,
    jobs: Annotated[int, typer.Option(help="Doors that are tried at one time.", min=1)] = 1,
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
    told: dict[str, Counts] = {}
    for name, counts in tried(bounds(chosen, seconds * jobs, inputs), jobs, seed, kept):
        told[name] = counts
        print(f"{name}: {counts.tried} tried, {dict(counts.ended)}", file=sys.stderr, flush=True)
        if counts.kept:
            print(json.loads(Path(counts.kept).read_text())["why"], file=sys.stderr)
    shown = _summary(told)
    print(json.dumps({"seed": seed} | shown))
    raise typer.Exit(bool(shown["kept"]))


def _summary(told: Mapping[str, Counts]) -> dict[str, Any]:
    """The counts of all doors together, and of each."""
    kinds: Counter[str] = Counter()
    for name, counts in told.items():
        kinds[kind_of(name)] += counts.tried
    whole = kinds.total()
    return {
        "tried": whole,
        "kinds": dict(kinds),
        "unanswered": whole - sum(each.ended.total() for each in told.values()),
        "stopped": sum(bool(each.kept) for each in told.values()),
        "followed_by_a_good_one": sum(each.checked for each in told.values()),
        "peak_growth_mib": max((each.peak_growth_mib for each in told.values()), default=0.0),
        "kept": next((each.kept for each in told.values() if each.kept), ""),
        "doors": {name: counts.shown() for name, counts in told.items()},
    }


if __name__ == "__main__":
    typer.run(fuzz)
