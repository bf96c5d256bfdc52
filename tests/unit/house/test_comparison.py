"""The comparison with TFJob and Arena gives a reason wherever one of them is better."""

from __future__ import annotations

from pathlib import Path

_PAGE = Path(__file__).parents[3] / "docs/compared-with-tfjob.md"
_REASONS = "## Why some rows stay as they are"
_NOT_ALONE = ("Barograph over TFJob", "equal")


def _rows(text: str) -> list[list[str]]:
    """The cells of the first table of a text, without its head."""
    lines = text[text.index("\n|") :].strip().split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_row_in_which_another_one_is_better_has_a_written_reason() -> None:
    compared, _, rest = _PAGE.read_text().partition(_REASONS)
    rows = _rows(compared)
    behind = {
        name
        for name, *_, better in rows
        if not better.startswith(_NOT_ALONE) and ("TFJob" in better or "Arena" in better)
    }
    reasons = dict(_rows(rest))
    assert len(rows) > 20
    assert len(behind) > 5
    assert behind == set(reasons)
    assert all(len(why) > 30 for why in reasons.values())
