"""The command `barograph`, as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from shared.embedded.stackfile import StackFile, write_stack_file
from shared.topology import ROUTES
from tests.brokers import BrokerUnderTest

ROOT = Path(__file__).parents[2]


def barograph(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shared.cli", *arguments],
        cwd=ROOT,
        # A table is as wide as it must be where no terminal is; pytest may have set its width.
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_status_says_how_to_start_what_does_not_run(tmp_path: Path) -> None:
    result = barograph("status", "--state", str(tmp_path))

    assert result.returncode == 1
    assert "start it with `barograph up`" in result.stderr


def test_status_gives_a_shell_addresses_and_tokens_as_variables(tmp_path: Path) -> None:
    fields = dict.fromkeys(StackFile.model_fields, "")
    fields |= {"healer_url": "http://127.0.0.1:1", "healer_token": "a 'quoted' one"}
    content = {**fields, "supervisor_pid": 0, "broker_urls": {}, "health": {}}
    write_stack_file(tmp_path, StackFile.model_validate(content))

    lines = barograph("status", "--state", str(tmp_path), "--shell").stdout

    script = f'{lines}printf "%s %s" "$HEALER" "$HEALER_TOKEN"'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "http://127.0.0.1:1 a 'quoted' one"


def test_a_reload_says_how_to_start_what_does_not_run(tmp_path: Path) -> None:
    result = barograph("reload", "--state", str(tmp_path))
    assert (result.returncode, "`barograph up` starts it" in result.stderr) == (1, True)


SUPERVISOR = """
import pathlib, signal, sys
said = pathlib.Path(sys.argv[2], "reloaded.json")
signal.signal(signal.SIGHUP, lambda *_: said.write_text("{}"))
print("runs", flush=True)
while True:
    signal.pause()
"""


def test_a_reload_reads_the_file_that_was_named_or_the_stacks_own_as_it_is_now(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", SUPERVISOR, "shared.embedded.stack", str(tmp_path)]
    own, named, other = (tmp_path / name for name in ("barograph.toml", "a.toml", "b.toml"))
    fields = dict.fromkeys(StackFile.model_fields, "") | {"broker_urls": {}, "health": {}}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as supervisor:
        try:
            assert supervisor.stdout is not None
            supervisor.stdout.readline()

            def reloaded(config: Path | None, *options: str) -> tuple[str, str]:
                content = fields | {"supervisor_pid": supervisor.pid, "config": str(config or "")}
                write_stack_file(tmp_path, StackFile.model_validate(content))
                result = barograph("reload", "--state", str(tmp_path), *options)
                assert result.returncode == 0, result.stderr
                asked = json.loads((tmp_path / "reload.json").read_text())["config"]
                return asked, result.stdout

            assert reloaded(None) == ("", f"no setting has changed: {own} (not there)\n")
            for file in (own, named, other):
                file.touch()
            assert reloaded(None) == (str(own), f"no setting has changed: {own}\n")
            assert reloaded(named)[0] == str(named)
            assert reloaded(named, "--config", str(other))[0] == str(other)
            own.unlink()
            assert reloaded(own)[0] == ""
        finally:
            supervisor.kill()


def test_down_is_content_when_nothing_runs(tmp_path: Path) -> None:
    result = barograph("down", "--state", str(tmp_path))

    assert result.returncode == 0
    assert "nothing runs" in result.stdout


def test_topology_shows_every_message() -> None:
    result = barograph("topology")

    assert result.returncode == 0
    for route in ROUTES:
        assert route.message.TYPE in result.stdout


def test_dead_letters_of_a_broker_are_counted(broker: BrokerUnderTest) -> None:
    result = barograph("dead-letters", "list", "--json", "--broker", broker.url("operator"))

    assert result.returncode == 0, result.stderr
    assert all(isinstance(count, int) for count in json.loads(result.stdout).values())


def test_a_wrong_password_is_an_error_of_one_line() -> None:
    url = "amqp://operator:wrong@127.0.0.1:1/%2F"
    result = barograph("dead-letters", "list", "--broker", url)

    assert result.returncode == 1
    assert "the broker cannot be used" in result.stderr
    assert "Traceback" not in result.stderr
