"""A stack that cannot have a port that people expect says which one it has, and why."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer

from shared.cli import stack as commands
from shared.embedded.ports import DEFAULTS
from shared.embedded.process import free_ports
from shared.embedded.stack import Stack
from shared.embedded.stackfile import write_stack_file


@pytest.fixture
def wanted() -> dict[str, int]:
    """Ports that are free here, in the place of the usual ones."""
    return dict(zip(DEFAULTS, free_ports(len(DEFAULTS), twin_offset=10_000), strict=True))


def _planned(state: Path, wanted: dict[str, int]) -> tuple[Stack, list[str]]:
    said: list[str] = []
    stack = Stack(state, default_ports=wanted, say=said.append)
    stack.plan_addresses()
    return stack, said


def _ports(state: Path) -> dict[str, int]:
    return json.loads((state / "ports.json").read_text())


def test_the_usual_ports_need_no_word(tmp_path: Path, wanted: dict[str, int]) -> None:
    for _ in range(2):
        stack, said = _planned(tmp_path, wanted)
        assert (said, stack.file.notes) == ([], "")
    assert wanted.items() <= _ports(tmp_path).items()


def test_each_usual_port_that_is_taken_is_said_at_every_start_with_the_one_in_its_place(
    tmp_path: Path, wanted: dict[str, int]
) -> None:
    with ExitStack() as taken:
        for port in wanted.values():
            taken.enter_context(socket.create_server(("127.0.0.1", port)))
        stack, said = _planned(tmp_path, wanted)
    chosen = _ports(tmp_path)
    for name, port in wanted.items():
        (line,) = [line for line in said if line.startswith(f"note: port {chosen[name]} for ")]
        assert line.endswith(f"now and at later starts: {port} is in use by another program")
    assert len(said) == len(wanted)
    assert [f"note: {line}" for line in stack.file.notes.splitlines()] == said

    again, said = _planned(tmp_path, wanted)
    assert _ports(tmp_path) == chosen, "they are kept"
    assert len(said) == len(wanted)
    for name, port in wanted.items():
        assert any(
            f"port {chosen[name]} " in line and f"{port} was in use" in line for line in said
        )
    assert again.file.client_url == stack.file.client_url


def test_a_kept_port_that_is_taken_later_is_said_whatever_part_it_is_of(
    tmp_path: Path, wanted: dict[str, int]
) -> None:
    _planned(tmp_path, wanted)
    before = _ports(tmp_path)
    with socket.create_server(("127.0.0.1", before["health.task"])):
        _, said = _planned(tmp_path, wanted)
    now = _ports(tmp_path)["health.task"]
    (line,) = said
    assert line.startswith(f"note: port {now} for health.task, now and at later starts: ")
    assert line.endswith(f"{before['health.task']} is in use by another program")


def test_the_second_port_that_belongs_to_one_is_named(
    tmp_path: Path, wanted: dict[str, int]
) -> None:
    with socket.create_server(("127.0.0.1", wanted["object-store.s3"] + 10_000)):
        _, (line,) = _planned(tmp_path, wanted)
    port = wanted["object-store.s3"]
    assert line.endswith(f"{port + 10_000}, which belongs to {port}, is in use by another program")


def test_a_port_that_was_asked_for_needs_no_word_about_the_usual_one(
    tmp_path: Path, wanted: dict[str, int], monkeypatch
) -> None:
    monkeypatch.setenv("BAROGRAPH_CLIENT_HTTP_PORT", "12345")
    with socket.create_server(("127.0.0.1", wanted["services.client"])):
        stack, said = _planned(tmp_path, wanted)
    assert said == []
    assert stack.file.client_url.endswith(":12345")


def test_the_status_shows_the_words_to_people_and_to_programs(
    tmp_path: Path, wanted: dict[str, int], capsys
) -> None:
    with socket.create_server(("127.0.0.1", wanted["services.client"])):
        stack, _ = _planned(tmp_path, wanted)
    write_stack_file(tmp_path, stack.file)
    for as_json in (False, True):
        with pytest.raises(typer.Exit):
            commands.status(tmp_path, as_json=as_json)
        shown = capsys.readouterr().out
        if as_json:
            assert json.loads(shown)["notes"] == [stack.file.notes]
        else:
            assert f"\nnote              {stack.file.notes}\n" in shown
