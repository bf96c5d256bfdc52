"""``barograph try-detector``: runs one detector on recorded series, without any service."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from shared.visible import visible

if TYPE_CHECKING:
    from replay.trial import Trial


def try_detector(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Recorded series: CSV, Parquet or the JSON answer of a Prometheus range query."
        ),
    ],
    *,
    detector: Annotated[
        str, typer.Option(help="The detector's name: built in, or from an installed package.")
    ] = "surprise",
    settings: Annotated[str, typer.Option(help="The detector's settings, as JSON.")] = "{}",
    plot: Annotated[
        Path | None, typer.Option(help="Plot the series and their anomalies to this SVG file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Run one detector on recorded series and print each anomalous point.

    The series are read as `barograph replay` reads them. The last lines count, for each series, its
    points, those that the detector had enough history to judge, and the anomalous ones.
    """
    from pydantic import ValidationError

    from replay.sources import UnreadableError, read
    from replay.trial import svg, trials
    from services.detector.detectors import make
    from shared.registry import RegistryError

    try:
        made = make(detector, _object(settings))
        found = trials(made, read(files))
    except KeyError as error:
        _stop(str(error.args[0]))
    except (RegistryError, UnreadableError, ValidationError, ValueError) as error:
        _stop(str(error))
    if plot is not None:
        plot.write_text(svg(found))
    if as_json:
        typer.echo(json.dumps([one.report() for one in found]))
    else:
        _print(found)


def _print(found: list[Trial]) -> None:
    """Print each anomalous point, then the counts of each series."""
    for one in found:
        for verdict in one.anomalies:
            at = datetime.fromtimestamp(verdict.time_ms / 1000, UTC)
            typer.echo(visible(f"{at:%Y-%m-%d %H:%M:%S}  {one.name}  {verdict.sentence}"))
    for one in found:
        typer.echo(visible(_counts(one)))


def _object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--settings is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("--settings is not a JSON object")  # noqa: TRY004 - a bad value, not a bug
    return value


def _counts(one: Trial) -> str:
    counts = f"{one.points:,} points, {one.judged:,} judged, {len(one.anomalies):,} anomalous"
    return f"{one.name}: {counts}"


def _stop(text: str) -> NoReturn:
    typer.echo(f"cannot try it: {text}", err=True)
    raise typer.Exit(2)
