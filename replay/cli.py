"""``barograph replay``: what would the system have said, and what would it have spared?"""

from __future__ import annotations

import json
import os
import time
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pydantic import BaseModel

    from replay.course import Outcome

M = TypeVar("M", bound="BaseModel")
_ENGINES = ("detector", "predictor")


def replay(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Recorded series: CSV, Parquet or the JSON of a Prometheus range query."
        ),
    ],
    *,
    tick: Annotated[
        float, typer.Option(help="The seconds of virtual time that one step takes.", min=0.001)
    ] = 60,
    detector: Annotated[str, typer.Option(help="The engine's settings, as JSON.")] = "",
    predictor: Annotated[str, typer.Option(help="The engine's settings, as JSON.")] = "",
    policy: Annotated[str, typer.Option(help="The healer's policy, as JSON.")] = "",
    events: Annotated[
        Path | None, typer.Option(help="Write every event to this file, one JSON object a line.")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            help="The number of processes that share the series; 0: as many as make it faster.",
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
    from replay.course import Course, processes_for  # noqa: PLC0415 - help must not wait for numpy
    from replay.sources import UnreadableError, read  # noqa: PLC0415
    from services.detector.settings import EngineSettings as Detector  # noqa: PLC0415
    from services.healer.model.policy import Policy  # noqa: PLC0415
    from services.predictor.settings import EngineSettings as Predictor  # noqa: PLC0415

    begin = time.monotonic()
    try:
        course = Course(
            _read(Detector, detector, "BAROGRAPH_DETECTOR_ENGINE"),
            _read(Predictor, predictor, "BAROGRAPH_PREDICTOR_ENGINE"),
            _read(Policy, policy, "BAROGRAPH_HEALER_POLICY"),
        )
        samples = read(files)
    except UnreadableError as error:
        typer.echo(f"cannot replay: {error}", err=True)
        raise typer.Exit(2) from None
    with (events or Path(os.devnull)).open("wb") as output:
        told = course.run(
            samples,
            max(1, round(tick * 1000)),
            processes=processes or processes_for(samples),
            texts=events is not None,
        )
        for one in told:
            if one.text is not None:
                output.write(one.text + b"\n")
    found = report(course.outcome)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found, time.monotonic() - begin)


def _read(model: type[M], text: str, variable: str) -> M:
    from pydantic import ValidationError  # noqa: PLC0415 - help must not wait for it

    from shared.setting_names import faults  # noqa: PLC0415 - the same

    try:
        return model.model_validate_json(text or os.environ.get(variable, "") or "{}")
    except ValidationError as error:
        found = "; ".join(faults(model, error))
        typer.echo(f"cannot replay: {variable}: {found}", err=True)
        raise typer.Exit(2) from None


def report(outcome: Outcome) -> dict[str, Any]:
    """The figures, by item and in all; a share is None where nothing could be counted."""
    from services.predictor.ledger import Score  # noqa: PLC0415 - help must not wait for numpy

    items: dict[str, dict[str, Any]] = {}
    for name in sorted({*outcome.items, *outcome.ledger}):
        seen, score = outcome.items.get(name), outcome.ledger.get(name)
        alarms = seen.alarms if seen else 0
        announced = seen.announced if seen else 0
        handled = seen.handled if seen else 0
        items[name] = {
            "alarms_without": alarms,
            "alarms_with": alarms - handled,
            "mailed_in_time": seen.mailed if seen else 0,
            "reduction": _share(handled, alarms),
            "accuracy": score.accuracy if score else None,
            "missed_rate": _share(alarms - announced, alarms),
            "false": score.false if score else 0,
            "false_per_machine_week": _share(score.false if score else 0, outcome.machine_weeks),
            "lead_hours": _share(seen.lead_ms / 3_600_000 if seen else 0, announced),
            "coverage": score.coverage if score else None,
            "brier": score.brier if score else None,
            "brier_skill": score.brier_skill if score else None,
            "anomalies": seen.anomalies if seen else 0,
        }
    without = sum(item["alarms_without"] for item in items.values())
    spared = without - sum(item["alarms_with"] for item in items.values())
    announced = sum(item.announced for item in outcome.items.values())
    lead_ms = sum(item.lead_ms for item in outcome.items.values())
    whole = reduce(Score.plus, outcome.ledger.values(), Score())
    return {
        "machines": outcome.machines,
        "series": outcome.series,
        "samples": outcome.samples,
        "days": (outcome.end_ms - outcome.begin_ms) / 86_400_000,
        "items": items,
        "all": {
            "alarms_without": without,
            "alarms_with": without - spared,
            "mailed_in_time": sum(item["mailed_in_time"] for item in items.values()),
            "reduction": _share(spared, without),
            "accuracy": whole.accuracy,
            "missed_rate": _share(without - announced, without),
            "false": whole.false,
            "false_per_machine_week": _share(whole.false, outcome.machine_weeks),
            "lead_hours": _share(lead_ms / 3_600_000, announced),
            "coverage": whole.coverage,
            "brier": whole.brier,
            "brier_skill": whole.brier_skill,
            "anomalies": sum(item["anomalies"] for item in items.values()),
        },
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _show(found: dict[str, Any], seconds: float) -> None:
    console = Console(width=None if os.isatty(1) else 160)
    table = Table(title="Alarms with and without the system")
    heads = (
        "item",
        "without",
        "with",
        "told",
        "reduction",
        "accuracy",
        "missed",
        "false per machine-week",
        "lead, h",
        "95 % held",
        "Brier skill",
        "anomalies",
    )
    for head in heads:
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
        "were predicted and that the policy lets a machine handle; 'told': predicted and mailed.",
        soft_wrap=True,
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
