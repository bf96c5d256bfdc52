"""Options that several of `barograph`'s commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.embedded.stackfile import STATE_WORDS

State = Annotated[
    Path,
    typer.Option(
        "--state",
        help="The directory in which the stack keeps its files.",
        show_default=STATE_WORDS,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
