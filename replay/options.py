"""The options of ``barograph replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[str],
    typer.Argument(
        help="Recorded series: CSV, Parquet or the JSON answer of a Prometheus range query; "
        "`s3://BUCKET/KEY` is an object, `s3://BUCKET/PREFIX/` all below it."
    ),
]
Tick = Annotated[float, typer.Option(help="The virtual time of one step, in seconds.", min=0.001)]
EngineOption = Annotated[str, typer.Option(help="The engine's settings, as JSON.")]
PolicyOption = Annotated[str, typer.Option(help="The healer's policy, as JSON.")]
Events = Annotated[
    Path | None, typer.Option(help="Write every event to this file, one JSON object per line.")
]
Processes = Annotated[
    int,
    typer.Option(
        help="The number of processes that share the series; 0: chosen by the number of "
        "cores and series.",
        min=0,
        max=64,
    ),
]
ShareOption = Annotated[
    str,
    typer.Option(
        help="Replay only the machines of one share, such as `0/8` for the first of eight, "
        "and write what they say to --to."
    ),
]
To = Annotated[str, typer.Option(help="The file or object that --share writes, for --join.")]
JoinOption = Annotated[
    bool, typer.Option("--join", help="The files are shares: put them together.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
