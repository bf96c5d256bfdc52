"""``barograph replay``: what would have been reported, and which alarms averted?"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from replay import options

if TYPE_CHECKING:
    from pydantic import BaseModel

    from replay.course import Course
    from replay.partitions import Emitted
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
    files: options.Files,
    *,
    tick: options.Tick = 60,
    detector: options.EngineOption = "",
    predictor: options.EngineOption = "",
    policy: options.PolicyOption = "",
    events: options.Events = None,
    processes: options.Processes = 0,
    share: options.ShareOption = "",
    to: options.To = "",
    join: options.JoinOption = False,
    as_json: options.AsJson = False,
) -> None:
    """Run recorded series through detector, predictor and policy in virtual time.

    Settings are those of the services: what is not given here is taken from
    BAROGRAPH_DETECTOR_ENGINE, BAROGRAPH_PREDICTOR_ENGINE and BAROGRAPH_HEALER_POLICY.
    """
    from replay.sources import UnreadableError, read

    begin, tick_ms = time.monotonic(), max(1, round(tick * 1000))
    try:
        course = _course(detector, predictor, policy)
        with tempfile.TemporaryDirectory() as folder:
            if share:
                _write_share(course, _local(files, folder), tick_ms, share, to)
                return
            if join:
                _join(course, _local(files, folder), events)
            else:
                _run(course, read(_local(files, folder)), tick_ms, processes, events)
    except UnreadableError as error:
        typer.echo(f"cannot replay: {error}", err=True)
        raise typer.Exit(2) from None
    _print(course, time.monotonic() - begin, as_json)


def _local(files: list[str], folder: str) -> list[Path]:
    from replay.places import fetched

    return fetched(files, Path(folder))


def _print(course: Course, seconds: float, as_json: bool) -> None:
    from replay.figures import figures

    found = figures(course.outcome)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found, seconds)


def _write_share(course: Course, files: list[Path], tick_ms: int, written: str, to: str) -> None:
    """Replay one share's machines and put what they say to its place, whole or not at all."""
    from replay.partitions import run_share
    from replay.places import is_stored, stored
    from replay.shares import Recording, Share, write
    from replay.sources import UnreadableError, read

    try:
        share = Share.parsed(written)
    except ValueError as error:
        raise UnreadableError(str(error)) from None
    if not to:
        raise UnreadableError("--to names the file or object that the share is written to")
    samples = read(files)
    recording = Recording.of(samples, tick_ms, course.settings)
    steps = run_share(samples, tick_ms, course.settings, share.number, share.of)
    with tempfile.TemporaryDirectory(dir=None if is_stored(to) else Path(to).parent) as folder:
        path = Path(folder, "share")
        with path.open("wb") as output:
            write(output, share, recording, steps)
        if is_stored(to):
            stored(path, to)
        else:
            path.replace(to)


def _join(course: Course, files: list[Path], events: Path | None) -> None:
    from replay.shares import Joined

    with ExitStack() as stack:
        joined = Joined(stack, files)
        _write(course.follow(joined.recording, joined.steps()), events)


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
    with waiting:
        found = course.run(
            samples,
            tick_ms,
            processes=processes or processes_for(samples),
            texts=events is not None,
        )
        _write(found, events)


def _write(found: Iterable[Emitted], events: Path | None) -> None:
    with (events or Path(os.devnull)).open("wb") as output:
        for event in found:
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
    from shared.visible import visible

    # The names of items are other people's text.
    console = Console(width=None if os.isatty(1) else 160, markup=False, emoji=False)
    table = Table(title="Alarms with and without the system")
    for head in _HEADS:
        table.add_column(head, justify="left" if head == "item" else "right")
    for name, row in [*found["items"].items(), ("all", found["all"])]:
        table.add_row(
            visible(name),
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
