"""``barograph``: run everything on one machine, and look after it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from shared import alerts_cli, config_cli, healing_cli, tokens_cli, topology
from shared.dead_letters_cli import app as dead_letters
from shared.embedded.files import own_directory
from shared.embedded.log_files import open_log
from shared.embedded.process import EmbeddedError
from shared.embedded.stackfile import (
    DEFAULT_STATE,
    STATE_WORDS,
    StackFile,
    is_ready,
    read_stack_file,
)

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(healing_cli.app, name="healing")
app.add_typer(alerts_cli.silences, name="silences")
app.add_typer(tokens_cli.app, name="tokens")
app.add_typer(config_cli.app, name="config")
for _command in (
    alerts_cli.alerts,
    alerts_cli.forecasts,
    alerts_cli.acknowledge,
    healing_cli.why,
    healing_cli.health,
    healing_cli.ledger,
):
    app.command()(_command)

State = Annotated[
    Path,
    typer.Option(
        "--state",
        help="The directory in which the stack keeps its files.",
        show_default=STATE_WORDS,
    ),
]
_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 120.0
_POLL_S = 0.2
_ADDRESSES = ("client_url", "gateway_url", "healer_url", "s3_url", "maildir", "logs")
_TOKENS = ("client_token", "gateway_token", "healer_token")


@app.command()
def up(state: State = DEFAULT_STATE, config: config_cli.ConfigOption = None) -> None:
    """Start broker, object store, mailbox, the six services and the node agent."""
    state = state.expanduser().resolve()
    if _running(state):
        typer.echo(f"already running; {_where(read_stack_file(state))}")
        return
    try:
        own_directory(state)
    except (EmbeddedError, OSError) as error:
        _fail(str(error))
    (state / StackFile.NAME).unlink(missing_ok=True)
    file = config_cli.checked(config, state)
    log = state / "log" / "supervisor.log"
    typer.echo("starting broker, object store, mailbox and services ...")
    with open_log(log) as output:
        output.truncate(0)
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "shared.embedded.stack", str(state)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[1])} | file,
            start_new_session=True,
            umask=0o077,
        )
    try:
        _await_stack(state, supervisor, log)
    except BaseException:
        # Interrupted or too late: nothing half started stays.
        supervisor.terminate()
        supervisor.wait()
        raise
    typer.echo(_where(read_stack_file(state)))
    typer.echo(_next_steps(state))


@app.command()
def down(state: State = DEFAULT_STATE) -> None:
    """Stop everything `up` started."""
    state = state.expanduser().resolve()
    if not _running(state):
        typer.echo(f"nothing runs under {state}")
        return
    pid = read_stack_file(state).supervisor_pid
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while _is_supervisor(pid):
        if time.monotonic() > deadline:
            _fail(f"process {pid} did not end within {_STOP_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)
    typer.echo("stopped")


@app.command()
def status(
    state: State = DEFAULT_STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show the access tokens, too.")] = False,
    shell: Annotated[
        bool, typer.Option("--shell", help="Print addresses and tokens as variables of a shell.")
    ] = False,
) -> None:
    """Show where everything is and whether each service is ready (exit code 1 if not)."""
    stack = _stack(state)
    if shell:
        typer.echo(_variables(stack))
        return
    ready = {name: is_ready(url) for name, url in stack.health.items()}
    if as_json:
        shown = _ADDRESSES + (_TOKENS if tokens else ())
        addresses = {name: getattr(stack, name) for name in shown}
        typer.echo(json.dumps({**addresses, "health": stack.health, "ready": ready}))
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


@app.command()
def doctor(
    state: State = DEFAULT_STATE,
    health: Annotated[
        list[str] | None,
        typer.Option("--health", help="NAME=URL of a service's probes, instead of a stack's."),
    ] = None,
    healer: Annotated[
        str,
        typer.Option(
            "--healer",
            envvar="BAROGRAPH_HEALER_URL",
            help="The healer's address, in place of the running stack's.",
        ),
    ] = "",
    token: Annotated[
        str,
        typer.Option(
            "--token", envvar="BAROGRAPH_HEALER_TOKEN", help="The bearer token of the healer's API."
        ),
    ] = "",
    test_notice: Annotated[
        bool, typer.Option(help="Have each channel send a test to its recipients.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Look whether all of it works, from samples to people; exit status 1 if anything does not."""
    # It reads metrics; the other commands need no parser of them.
    from shared.doctor import Healer, examine, shown  # noqa: PLC0415

    if health or healer:
        services = dict(_named_url(text) for text in health or ())
        api = Healer(_http(healer), token)
    else:
        stack = _stack(state)
        services, api = stack.health, Healer(stack.healer_url, stack.healer_token)
    findings = list(examine(services, api, test_notice=test_notice))
    typer.echo(shown(findings, as_json=as_json))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _named_url(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals:
        _fail(f"{text}: say NAME=URL, e.g. detector=http://10.0.0.7:9090")
    return name, _http(url)


def _http(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        _fail(f"{url or 'the healer (--healer)'} is not an http address")
    return url.rstrip("/")


@app.command("topology")
def show_topology() -> None:
    """Show who publishes which message to whom."""
    table = Table("message", "exchanges", "routing key", "published by", "to queues and outlets")
    for route in topology.ROUTES:
        table.add_row(
            route.message.TYPE,
            ", ".join(topology.sources(route)),
            route.key,
            ", ".join(route.publishers) or "nobody yet",
            ", ".join([*(sub.queue for sub in route.consumers), *filter(None, [route.outlet])]),
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@app.command()
def generate(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing, and fail if a file is stale.")
    ] = False,
) -> None:
    """Write schemas, AsyncAPI, reference pages and the picture from the code."""
    # Imports every contract; the other commands need not wait for that.
    from shared.documents import stale_files, write_files  # noqa: PLC0415

    root = Path(__file__).parents[1]
    changed = stale_files(root) if check else write_files(root)
    for path in changed:
        typer.echo(f"{'stale' if check else 'wrote'} {path}")
    if check and changed:
        _fail("run `make generate` and commit what it writes")


def _await_stack(state: Path, supervisor: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not (state / StackFile.NAME).exists():
        if supervisor.poll() is not None:
            _fail(f"it did not start; {log} says:\n{log.read_text()[-6000:]}")
        if time.monotonic() > deadline:
            _fail(f"not ready within {_START_TIMEOUT_S:.0f} s; see {log}")
        time.sleep(_POLL_S)


def _running(state: Path) -> bool:
    try:
        if not (state / StackFile.NAME).exists():
            return False
    except PermissionError:
        pass  # said in the next line
    return _is_supervisor(_stack(state).supervisor_pid)


def _is_supervisor(pid: int) -> bool:
    # A process id may belong to somebody else by now. A zombie has no command line.
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"shared.embedded.stack" in command


def _stack(state: Path) -> StackFile:
    try:
        return read_stack_file(state)
    except EmbeddedError as error:
        _fail(str(error))


def _where(stack: StackFile) -> str:
    return (
        f"web page and API  {stack.client_url}\n"
        f"metrics gateway   {stack.gateway_url}/api/v1/write\n"
        f"alerts (healer)   {stack.healer_url}\n"
        f"mail arrives in   {stack.maildir}\n"
        f"logs              {stack.logs}"
    )


def _variables(stack: StackFile) -> str:
    """Lines for ``eval``: CLIENT, CLIENT_TOKEN and so on."""
    values = {}
    for door in ("client", "gateway", "healer"):
        values[door] = getattr(stack, f"{door}_url")
        values[f"{door}_token"] = getattr(stack, f"{door}_token")
    return "\n".join(f"{name.upper()}={shlex.quote(value)}" for name, value in values.items())


def _next_steps(state: Path) -> str:
    option = "" if state == DEFAULT_STATE.expanduser().resolve() else f" --state {state}"
    variable = f"BAROGRAPH_STATE={state} " if option else ""
    activate = Path(sys.prefix) / "bin" / "activate"
    hidden = shutil.which("tshell") is None and activate.is_file()
    lines = [
        "",
        *([f"commands          . {activate}: before those below"] if hidden else ()),
        f"submit a job      {variable}tshell submit FOLDER --main FILE.py",
        f"log in            barograph status{option} --tokens: the page takes client_token",
        "send metrics      the gateway takes gateway_token as bearer token",
        f"see alerts        barograph alerts{option}",
        f"stop              barograph down{option}",
    ]
    if os.geteuid() != 0:
        lines.append("jobs run as you, with your rights: submit only programs you trust")
    return "\n".join(lines)


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)


def complete() -> typer.Typer:
    """The application with the commands of other packages, which come by entry points."""
    known = {command.name for command in app.registered_commands}
    for found in entry_points(group="barograph.commands"):
        if found.name not in known:
            app.command(found.name)(found.load())
    return app


def main() -> None:
    """The command's entry point."""
    complete()()


if __name__ == "__main__":
    main()
