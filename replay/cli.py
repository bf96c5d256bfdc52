"""``barograph replay``: what would have been reported, and which alarms averted?"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pydantic import BaseModel

    from replay.course import Course
    from shared.samples import SampleBatch

M = TypeVar("M", bound="BaseModel")
_HEADS = (
    "item",
    "without",
    "with",
    "mailed",
    "reduction",
    "accuracy",
    "missed",
    "false per machine-week",
    "lead, h",
    "95 % held",
    "Brier skill",
    "anomalies",
)


def replay(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Recorded series: CSV, Parquet or the JSON answer of a Prometheus range query."
        ),
    ],
    *,
    tick: Annotated[
        float, typer.Option(help="The virtual time of one step, in seconds.", min=0.001)
    ] = 60,
    detector: Annotated[str, typer.Option(help="The engine's settings, as JSON.")] = "",
    predictor: Annotated[str, typer.Option(help="The engine's settings, as JSON.")] = "",
    policy: Annotated[str, typer.Option(help="The healer's policy, as JSON.")] = "",
    events: Annotated[
        Path | None, typer.Option(help="Write every event to this file, one JSON object per line.")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            help="The number of processes that share the series; 0: chosen by the number of "
            "cores and series.",
            min=0,
            max=64,
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Run recorded series through detector, predictor and policy in virtual time.

    Settings are those of the services: what is not given here is taken from
    BAROGRAPH_DETECTOR_ENGINE, BAROGRAPH_PREDICTOR_ENGINE and BAROGRAPH_HEALER_POLICY.
    """
    from replay.figures import figures
    from replay.sources import UnreadableError, read

    begin = time.monotonic()
    try:
        course = _course(detector, predictor, policy)
        samples = read(files)
    except UnreadableError as error:
        typer.echo(f"cannot replay: {error}", err=True)
        raise typer.Exit(2) from None
    _run(course, samples, max(1, round(tick * 1000)), processes, events)
    found = figures(course.outcome)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found, time.monotonic() - begin)


def _course(detector: str, predictor: str, policy: str) -> Course:
    from replay.course import Course
    from services.detector.settings import EngineSettings as Detector
    from services.healer.model.policy import Policy
    from services.predictor.settings import EngineSettings as Predictor

    return Course(
        _read(Detector, detector, "--detector", "BAROGRAPH_DETECTOR_ENGINE"),
        _read(Predictor, predictor, "--predictor", "BAROGRAPH_PREDICTOR_ENGINE"),
        _read(Policy, policy, "--policy", "BAROGRAPH_HEALER_POLICY"),
    )


def _run(
    course: Course, samples: SampleBatch, tick_ms: int, processes: int, events: Path | None
) -> None:
    from replay.course import processes_for

    waiting = Console(stderr=True).status(f"replaying {len(samples):,} samples")  # on a terminal
    with (events or Path(os.devnull)).open("wb") as output, waiting:
        for event in course.run(
            samples,
            tick_ms,
            processes=processes or processes_for(samples),
            texts=events is not None,
        ):
            if event.text is not None:
                output.write(event.text + b"\n")


def _read(model: type[M], text: str, option: str, variable: str) -> M:
    from pydantic import ValidationError

    from shared.setting_names import faults

    try:
        return model.model_validate_json(text or os.environ.get(variable, "") or "{}")
    except ValidationError as error:
        found = "; ".join(faults(model, error))
        where = option if text else variable
        typer.echo(f"cannot replay: {where}: {found.removeprefix(': ')}", err=True)
        raise typer.Exit(2) from None


def _show(found: dict[str, Any], seconds: float) -> None:
    console = Console(width=None if os.isatty(1) else 160)
    table = Table(title="Alarms with and without the system")
    for head in _HEADS:
        table.add_column(head, justify="left" if head == "item" else "right")
    for name, row in [*found["items"].items(), ("all", found["all"])]:
        table.add_row(
            name,
            str(row["alarms_without"]),
            str(row["alarms_with"]),
            str(row["mailed_in_time"]),
            *(_percent(row[key]) for key in ("reduction", "accuracy", "missed_rate")),
            _number(row["false_per_machine_week"]),
            _number(row["lead_hours"]),
            _percent(row["coverage"]),
            _number(row["brier_skill"]),
            str(row["anomalies"]),
        )
    console.print(table)
    console.print(
        f"{found['machines']:,} machines, {found['series']:,} series, {found['samples']:,} "
        f"samples, {found['days']:.1f} days in {seconds:.1f} s. 'with' leaves out the alarms that "
        "were predicted and that the policy lets a machine handle; 'mailed' counts those that were "
        "predicted and mailed to a person in time.",
        soft_wrap=True,
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
