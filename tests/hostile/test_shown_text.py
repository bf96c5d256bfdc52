"""Names of files, processes and labels are shown, never read: by a shell, a terminal or a mail."""

from __future__ import annotations

import json
import shlex
import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.healer.notify.compose import exact_command
from services.healer.notify.render.mail import build
from services.healer.remediations.base import Step
from shared.cli import dead_letters, rows
from shared.contracts.remediation import RemediationStep
from shared.visible import visible
from tests.conformance.test_channels import told

EVIL = "evil\x1b[2J\u202egnp.\x07[/x][link=https://e]"


def planned(*paths: str) -> list[RemediationStep]:
    return [
        Step("delete", path, 1, "1:1", diff=path, command=f"rm -- {shlex.quote(path)}").reported()
        for path in paths
    ]


@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize(
    "paths",
    [
        ("/srv/" + "/".join("a b" + "x" * 200 for _ in range(6)), "/srv/x; touch PWNED; #.gz"),
        ("/srv/new\nline; touch PWNED", "/srv/$(touch PWNED)"),
        ("/srv/'; touch PWNED; '", "/srv/`touch PWNED`", "/srv/\u202e; touch PWNED"),
    ],
)
def test_pasting_what_a_mail_suggests_runs_nothing_but_the_command(
    shell: str, paths: tuple[str, ...], tmp_path: Path
) -> None:
    text = exact_command(planned(*paths))
    subprocess.run(
        [shell], input=text + "\n", text=True, cwd=tmp_path, capture_output=True, check=False
    )
    assert not (tmp_path / "PWNED").exists()
    assert all(len(line) <= 1200 and line.isprintable() for line in text.splitlines())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=1100), min_size=1, max_size=3))
def test_every_command_shown_is_one_whole_line(names: list[str]) -> None:
    steps = planned(*(f"/srv/{name}" for name in names))
    for line in exact_command(steps).splitlines():
        assert line.isprintable()
        words = shlex.split(line)
        assert words[0] in {"rm", "#"}
        if words[0] == "rm":
            assert len(words) == 3
            assert words[2].removeprefix("/srv/") in names


def test_a_command_of_an_agent_with_an_open_quote_is_not_shown() -> None:
    step = planned("/srv/a")[0].model_copy(update={"command": "rm -- 'a"})
    assert exact_command([step]) == ""


def test_both_parts_of_a_mail_show_no_character_that_nobody_sees() -> None:
    notice = told().model_copy(
        update={"sentence": EVIL, "actions": (EVIL,), "suggested_command": EVIL, "planned": True}
    )
    letter = build(notice, "a@example.org", ("b@example.org",), "")
    for part in letter.walk():
        if part.get_content_maintype() == "text" and part.get_filename() is None:
            shown = part.get_content()
            assert visible(shown) == shown
            assert "evil" in shown


def test_a_table_on_the_terminal_takes_no_markup_and_no_escapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row: dict[str, Any] = {"program": EVIL, "value": 1.25, "none": None}
    rows.show_rows([row], as_json=False, columns=("program", "value", "none"), nothing="")
    shown = capsys.readouterr().out
    assert "[/x]" in shown
    assert visible(shown) == shown
    rows.show_rows([row], as_json=True, columns=(), nothing="")
    assert json.loads(capsys.readouterr().out) == [row]


def test_a_dead_letter_is_shown_without_its_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    letter = SimpleNamespace(message_id="1", reason=EVIL, body=EVIL.encode())
    letters = SimpleNamespace(look=lambda *_: [letter])
    monkeypatch.setattr(dead_letters, "_letters", lambda *_: nullcontext(letters))
    shown = CliRunner().invoke(dead_letters.app, ["inspect", "task.jobs"]).output
    assert shown.count("evil") == 2
    assert visible(shown) == shown
