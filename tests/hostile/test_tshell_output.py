"""What programs and machines say of themselves is shown, and never obeyed, by ``tshell``."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.client.tshell import shown
from shared.visible import visible_value
from tests.unit.client.test_api import NOW
from tests.unit.client.test_description import desk_with_a_cluster

EVIL = "[/x] [link=http://evil]:boom: \x1b]0;title\x07\x1b[2J\x9b6n\u202egnp.exe"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    desk = next(iter(desk_with_a_cluster()))
    found: dict[str, Any] = desk.call("GET", "/api/v1/jobs/a/description").json()
    desk.store.close()
    return found


def poisoned(value: Any, evil: str) -> Any:
    """The value with ``evil`` for every text that is no time."""
    if isinstance(value, dict):
        return {
            name: each if name in {"at", "until", "role"} else poisoned(each, evil)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [poisoned(each, evil) for each in value]
    is_time = isinstance(value, str) and value[:4] == str(NOW.year)
    return evil if isinstance(value, str) and not is_time else value


def test_no_text_commands_the_terminal_or_breaks_the_tables(
    described: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    member = described["members"][0] | {"last_lines": [EVIL], "stands": "failed"}
    evil = poisoned(described, EVIL)
    evil["now"] = described["now"]
    evil["members"] = [
        poisoned(member, EVIL)
        | {name: member[name] for name in ("asked", "role", "stands", "cpu_cores", "memory_bytes")}
    ]
    for field in ("created_at", "updated_at", "retries", "artifacts", "stored", "submit"):
        evil["job"][field] = copy.deepcopy(described["job"][field])
    shown.description(evil)
    shown.jobs([evil["job"]])
    text = capsys.readouterr().out
    assert "[/x]" in text
    assert "[link=" in text
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*text}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_made_visible_has_the_same_shape_and_no_commands(value: Any) -> None:
    made = visible_value(value)
    assert type(made) is type(value)
    texts = json.dumps([made] if isinstance(made, str) else made, ensure_ascii=False)
    if isinstance(made, str):
        assert not any(c < " " and c not in "\t\n" for c in made)
        assert len(made) == len(value)
        assert "\u202e" not in texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job/code").mkdir(parents=True)
    (tmp_path / "job/code/main.py").write_text("print()")
    return tmp_path / "job"


def command(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's line in which TSHELL, BAROGRAPH and FOLDER stand for what they name."""
    for name, module in (("TSHELL", "services.client.tshell"), ("BAROGRAPH", "shared.cli")):
        line = line.replace(name, f"{sys.executable} -m {module}")
    line = line.replace("FOLDER", str(folder))
    return subprocess.run(
        ["/bin/sh", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("TSHELL submit FOLDER --dry-run client > /dev/full", 2),
        ("TSHELL --version > /dev/full", 2),
        ("TSHELL submit --help > /dev/full", 2),
        ("BAROGRAPH topology > /dev/full", 1),
        ("TSHELL submit FOLDER --dry-run client >&-", 0),
        ("TSHELL submit FOLDER --dry-run client <&- >&- 2>&-", 0),
        ("TSHELL submit FOLDER -d none.py --dry-run client 2>&-", 2),
        ("BAROGRAPH topology >&-", 0),
    ],
)
def test_output_that_nobody_takes_is_an_error_in_words_or_none(
    line: str, code: int, folder: Path
) -> None:
    ran = command(line, folder)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    if "/dev/full" in line:
        assert ran.stderr == "standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_leaves_no_temporary_files(
    number: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    ran = subprocess.Popen(
        [sys.executable, "-m", "services.client.tshell", "submit", str(folder), "-f", "-"],
        stdin=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    while not [*temporary.iterdir()]:
        assert ran.poll() is None
    ran.send_signal(number)
    assert ran.wait() == 128 + number
    assert ran.stdin
    ran.stdin.close()
    assert [*temporary.iterdir()] == []


FIELDS = "main: main.py\nname: of-the-file\n"


@pytest.mark.parametrize(
    "given",
    [
        lambda path: f"TSHELL submit FOLDER -f - --dry-run client < {path}",
        lambda path: f"TSHELL submit FOLDER -f /dev/stdin --dry-run client < {path}",
        lambda path: f"cat {path} | TSHELL submit FOLDER -f - --dry-run client",
        lambda path: f"cat {path} | TSHELL submit FOLDER -f /dev/stdin --dry-run client",
        lambda path: (
            f"mkfifo {path}.p; cat {path} > {path}.p & TSHELL submit FOLDER -f {path}.p"
            " --dry-run client"
        ),
    ],
)
def test_a_jobs_file_may_come_through_a_pipe(
    given: Callable[[Path], str], folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "fields"
    path.write_text(FIELDS)
    ran = command(given(path), folder)
    assert ran.stdout == "valid: of-the-file, 1 worker; nothing was submitted\n", ran.stderr


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("none.yaml", "No such file"),
        ("none", "No such file"),
        ("none.yml.j2", "No such file"),
        ("https://example.org/job.yaml", "No such file"),
        ("job:yaml", "No such file"),
        (".", "Is a directory"),
    ],
)
def test_a_jobs_file_that_is_none_is_named(file: str, said: str, folder: Path) -> None:
    ran = command(f"TSHELL submit FOLDER -f {file} --dry-run client", folder)
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-e PATH=/x", "env.PATH: this name is reserved"),
        ("-e TF_CONFIG=x", "env.TF_CONFIG: this name is reserved"),
        ("-m 4096", "less than 16Mi cannot hold any program; a number alone is bytes"),
        ("-m 1Ki", "less than 16Mi cannot hold any program"),
        ("-d a.ipynb", "make one of the notebook"),
        ("-d run.sh", "subprocess.run"),
        ("--label project=x", "labels.project: this is a field of its own"),
    ],
)
def test_what_every_installation_would_refuse_is_named_without_one(
    options: str, said: str, folder: Path
) -> None:
    for name in ("a.ipynb", "run.sh"):
        (folder / "code" / name).write_text("{}")
    ran = command(f"TSHELL submit FOLDER {options} --dry-run client", folder)
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr


def test_what_would_go_wrong_in_a_folder_later_is_noted(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
    (folder / "data").mkdir()
    (folder / "data/train.csv").write_text(pointer)
    (folder / "data/other.csv").write_text("a,b\n" * 30)
    (folder / "code/tool").write_bytes(b"#!/usr/bin/env python3\r\nprint()\r\n")
    (folder / "code/tool").chmod(0o755)
    (folder / "code/main.py").write_bytes(b"#!/usr/bin/env python3\r\nprint()\r\n")
    ran = command("TSHELL submit FOLDER --arg '--lr 0.1' --arg '-x y' --dry-run client", folder)
    assert ran.stderr.splitlines() == [
        "note: code/tool has Windows' line ends (CRLF), at which a shell fails; see dos2unix",
        "note: not fetched from Git LFS, only pointers are here: data/train.csv; see git lfs pull",
        "note: '--lr 0.1' is one argument; an option and its value are two, or joined by =",
    ]
    assert ran.returncode == 0
