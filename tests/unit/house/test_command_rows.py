"""Tables of commands: whatever the width, no name, number or id is cut."""

from __future__ import annotations

import json

import pytest

from shared.cli.rows import show_rows

LEDGER = {
    "item": "df.bytes.used.percent",
    "predicted": 17,
    "came_true": 12,
    "accuracy": 0.857,
    "made_at": "2026-01-31T14:05:06.123456Z",
    "hosts": ["db1", "batch-03.eu-west.example.com"],
    "reason": "",
}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_nothing_is_cut_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show_rows([LEDGER, LEDGER | {"item": "x"}], False, tuple(LEDGER), nothing="-")
    shown = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert max(map(len, shown.splitlines())) <= width
    whole = "".join(shown.split())
    for text in ("df.bytes.used.percent", "17", "12", "0.857", "2026-01-31", "14:05", "db1"):
        assert text in whole
    if width == 80:
        assert shown.count("item") == 2, "too narrow for a table: a block for each row"
    if width == 200:
        assert shown.count("item") == 1


def test_no_rows_are_said_to_be_none_and_programs_get_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_rows([], False, ("id",), nothing="none")
    assert capsys.readouterr().out == "none\n"
    show_rows([], True, ("id",), nothing="none")
    show_rows([LEDGER], True, ("id",), nothing="none")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [[], [LEDGER]]
