"""Commands about a job's training curves."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.client.tshell.cli import JobId, app, the_client, the_job
from shared.visible import visible

_EVENTS = ".tfevents."
"""The part of the name that all of TensorFlow's event files share."""


@app.command()
def tensorboard(
    job: JobId,
    port: Annotated[int, typer.Option("--port", help="The port on loopback.")] = 6006,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The folder to write to; by default it is named after the job."
        ),
    ] = None,
) -> None:
    """Download a job's event files and show them in TensorBoard."""
    from services.client.tshell.stop import Code, Stop

    program = _program()
    client = the_client()
    view = the_job(client, job)
    if program is None:
        raise Stop(
            Code.BAD_INPUT,
            "TensorBoard is not installed here: pip install tensorboard, or fetch the files with"
            f" tshell get {view['job_id']}",
        )
    events = [each for each in client.results(view["job_id"]) if _EVENTS in each.path]
    if not events:
        raise Stop(
            Code.NOT_FOUND,
            f"{view['job_id']}, which is {view['state']}, has left no event files; write them below"
            " BAROGRAPH_OUTPUT_DIR, as keras.callbacks.TensorBoard does",
        )
    folder = output or Path(view["job_id"])
    for target in client.fetch(view["job_id"], events, folder):
        print(visible(str(target)))
    options = ["--logdir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    try:
        raise typer.Exit(subprocess.run([*program, *options], check=False).returncode)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _program() -> list[str] | None:
    """The command that starts TensorBoard, of this Python or on PATH; None if there is none."""
    if importlib.util.find_spec("tensorboard") is not None:
        return [sys.executable, "-m", "tensorboard.main"]
    command = shutil.which("tensorboard")
    return [command] if command else None
