"""`barograph up`, `down` and `status`: the stack of one machine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.table import Table

from shared.cli import config
from shared.cli.apis import fail
from shared.cli.options import AsJson, State
from shared.embedded.files import own_directory
from shared.embedded.log_files import open_log
from shared.embedded.patience import Patience
from shared.embedded.process import EmbeddedError
from shared.embedded.reload import ask_reload, read_outcome
from shared.embedded.stackfile import DEFAULT_STATE, StackFile, is_ready, read_stack_file
from shared.setting_sources import FILE, VARIABLE
from shared.visible import visible

_SOURCES = Path(__file__).parents[2]
_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 120.0
_POLL_S = 0.2
_ASK_TIMEOUT_S = 3.0
_MAX_NAMED = 5
_SUPERVISORS = (b"shared.embedded", b"shared.embedded.stack")
"""The supervisor's module, and that of earlier versions, whose stack may still run."""
_WITH_PROGRAMS = ["starting", "running", "retrying"]
_ADDRESSES = ("client_url", "gateway_url", "healer_url", "s3_url", "maildir", "logs")
_TOKENS = ("client_token", "gateway_token", "healer_token")


def up(state: State = DEFAULT_STATE, settings: config.ConfigOption = None) -> None:
    """Start broker, object store, mailbox, the six services and the node agent."""
    state = state.expanduser().resolve()
    if _running(state):
        typer.echo(f"already running\n{_where(read_stack_file(state))}")
        return
    try:
        own_directory(state)
    except EmbeddedError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{state} cannot be used: {error.strerror}; name another directory with --state")
    file = config.checked(settings, state)
    log = state / "log" / "supervisor.log"
    typer.echo("starting broker, object store, mailbox and services ...", err=True)
    with open_log(log) as output:
        output.truncate(0)
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "shared.embedded", str(state)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ) | {"PYTHONPATH": str(_SOURCES)} | file,
            start_new_session=True,
            umask=0o077,
        )
    try:
        with log.open(errors="replace") as said:
            _await_stack(state, supervisor, said)
    except BaseException as reason:
        # Interrupted or too late: nothing half started stays.
        if isinstance(reason, KeyboardInterrupt):
            typer.echo("\ninterrupted: stopping what has started ...", err=True)
        supervisor.terminate()
        supervisor.wait()
        raise
    typer.echo(_where(read_stack_file(state)))
    typer.echo(_next_steps(state))


def reload(state: State = DEFAULT_STATE, settings: config.ConfigOption = None) -> None:
    """Restart the services whose settings in barograph.toml have changed; jobs go on.

    The file may have been created, or removed, since `up`. A file with a fault restarts nothing.
    Environment variables, ports and tokens are read by `up` alone.
    """
    state = state.expanduser().resolve()
    if not _running(state):
        fail(f"nothing runs under {state}: `barograph up` starts it")
    stack = read_stack_file(state)
    pid = stack.supervisor_pid
    named = settings or _named(stack, state)
    file = config.checked(named, state).get(VARIABLE, "")
    ask_reload(state, pid, file)
    patience = Patience(_START_TIMEOUT_S)
    while (outcome := read_outcome(state)) is None:
        if patience.is_over() or not _is_supervisor(pid, state):
            fail(f"no answer within {patience.waited_s:.0f} s; see {state / 'log'}")
        time.sleep(_POLL_S)
    if outcome.problem:
        fail(outcome.problem)
    if not outcome.services:
        typer.echo(f"no setting has changed: {_settings(file, state)}")
    else:
        typer.echo(f"restarted with new settings: {', '.join(outcome.services)}")


def down(state: State = DEFAULT_STATE) -> None:
    """Stop everything that `up` started."""
    state = state.expanduser().resolve()
    pid = read_stack_file(state).supervisor_pid if _running(state) else _lost_supervisor(state)
    if pid is None:
        typer.echo(f"nothing runs under {state}")
        return
    for job in _running_jobs(state):
        text = f"note: {visible(job)} goes on: its log and end are recorded after the next start"
        typer.echo(text, err=True)
    typer.echo("stopping services, object store and broker ...", err=True)
    os.kill(pid, signal.SIGTERM)
    patience = Patience(_STOP_TIMEOUT_S)
    while _is_supervisor(pid, state):
        if patience.is_over():
            fail(f"process {pid} did not end within {patience.waited_s:.0f} s")
        time.sleep(_POLL_S)
    typer.echo("stopped")


def status(
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Show the access tokens as well.")
    ] = False,
    shell: Annotated[
        bool, typer.Option("--shell", help="Print addresses and tokens as variables of a shell.")
    ] = False,
) -> None:
    """Show addresses and whether each service is ready; exit status 1 if not."""
    stack = the_stack(state)
    if shell:
        typer.echo(_variables(stack))
        return
    ready = {name: is_ready(url) for name, url in stack.health.items()}
    if as_json:
        shown = _ADDRESSES + (_TOKENS if tokens else ())
        addresses = {name: getattr(stack, name) for name in shown}
        known = {"health": stack.health, "ready": ready, "notes": stack.notes.splitlines()}
        typer.echo(json.dumps(addresses | known))
    else:
        table = Table("service", "ready", "health")
        for name, url in stack.health.items():
            table.add_row(name, "yes" if ready[name] else "NO", url)
        Console().print(table)
        typer.echo(_where(stack))
        if tokens:
            typer.echo("\n".join(f"{name:17} {getattr(stack, name)}" for name in _TOKENS))
    if not all(ready.values()):
        raise typer.Exit(1)


def _running_jobs(state: Path) -> list[str]:
    """Ids of the jobs whose programs outlive the stack; none where it cannot be asked."""
    from shared.client import Client, ClientError

    try:
        with Client(state=state) as barograph:
            asked = {"state": _WITH_PROGRAMS, "limit": _MAX_NAMED}
            answer = barograph.jobs_api.call("GET", "/jobs", params=asked, timeout=_ASK_TIMEOUT_S)
    except ClientError:
        return []
    return [job["job_id"] for job in answer["jobs"]]


def _await_stack(state: Path, supervisor: subprocess.Popen[bytes], said: TextIO) -> None:
    """Wait for the supervisor while printing its messages; fail with its log if it ends."""
    patience = Patience(_START_TIMEOUT_S)
    while not _has_started(state, supervisor.pid):
        ended = supervisor.poll() is not None
        typer.echo(said.read(), nl=False, err=True)
        if ended:
            fail(f"it did not start: the lines above are from {said.name}")
        if patience.is_over():
            fail(f"not ready within {patience.waited_s:.0f} s; see {said.name}")
        time.sleep(_POLL_S)
    typer.echo(said.read(), nl=False, err=True)


def _has_started(state: Path, pid: int) -> bool:
    """Return whether this supervisor's stack is up; the file may be one that another has left."""
    try:
        return read_stack_file(state).supervisor_pid == pid
    except EmbeddedError:
        return False


def _running(state: Path) -> bool:
    try:
        if not (state / StackFile.NAME).exists():
            return False
    except PermissionError:
        pass  # said in the next line
    return _is_supervisor(the_stack(state).supervisor_pid, state)


def _lost_supervisor(state: Path) -> int | None:
    """The process that starts or runs a stack there although no file says so, if there is one."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return next((pid for pid in pids if _is_supervisor(pid, state)), None)


def _is_supervisor(pid: int, state: Path) -> bool:
    # The process id may have been reused, even by the supervisor of another stack.
    # A zombie has no command line.
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    module, directory = (*command.split(b"\0")[-3:-1], b"", b"")[:2]
    return module in _SUPERVISORS and directory == os.fsencode(state)


def the_stack(state: Path) -> StackFile:
    """The stack that runs there; ends the command where none does."""
    try:
        return read_stack_file(state)
    except EmbeddedError as error:
        fail(str(error))


def _named(stack: StackFile, state: Path) -> Path | None:
    """The file that `up` was told to use; None where it is the one in the state directory."""
    in_use = Path(stack.config) if stack.config else None
    return None if in_use == state / FILE else in_use


def _settings(file: str, state: Path) -> str:
    return file or f"{state / FILE} (not there)"


def _where(stack: StackFile) -> str:
    return (
        f"web page and API  {stack.client_url}\n"
        f"metrics gateway   {stack.gateway_url}/api/v1/write\n"
        f"alerts (healer)   {stack.healer_url}\n"
        f"mail arrives in   {stack.maildir}\n"
        f"logs              {stack.logs}\n"
        f"settings          {_settings(stack.config, Path(stack.logs).parent)}"
        + "".join(f"\nnote              {note}" for note in stack.notes.splitlines())
    )


def _variables(stack: StackFile) -> str:
    """Lines for ``eval``: CLIENT, CLIENT_TOKEN and so on."""
    values = {}
    for door in ("client", "gateway", "healer"):
        values[door] = getattr(stack, f"{door}_url")
        values[f"{door}_token"] = getattr(stack, f"{door}_token")
    return "\n".join(f"{name.upper()}={shlex.quote(value)}" for name, value in values.items())


def _next_steps(state: Path) -> str:
    place = shlex.quote(str(state))
    option = "" if state == DEFAULT_STATE.expanduser().resolve() else f" --state {place}"
    variable = f"BAROGRAPH_STATE={place} " if option else ""
    activate = Path(sys.prefix) / "bin" / "activate"
    hidden = shutil.which("tshell") is None and activate.is_file()
    lines = [
        "",
        *([f"first             . {shlex.quote(str(activate))}"] if hidden else ()),
        f"submit a job      {variable}tshell submit FOLDER --main FILE.py",
        f"log in            barograph status{option} --tokens: the page takes client_token",
        "send metrics      the gateway takes gateway_token as bearer token",
        f"see alerts        barograph alerts{option}",
        f"stop              barograph down{option}",
    ]
    if os.geteuid() != 0:
        lines.append("jobs run as you, with your rights: submit only programs you trust")
    return "\n".join(lines)
