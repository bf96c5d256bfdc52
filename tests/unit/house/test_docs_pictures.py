"""Pictures in the documentation are those that browser tests take, and none where they are not."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.docs_pictures import shown

ROOT = Path(__file__).parents[3]


def test_a_picture_is_shown_where_it_was_taken(tmp_path: Path) -> None:
    text = "a\n<!-- picture: wall-dark: The wall -->\nb <!-- picture: none-light: Nothing --> c"
    (tmp_path / "wall-dark.png").touch()
    assert shown(text, "../", tmp_path) == "a\n![The wall](../pictures/wall-dark.png)\nb  c"


def test_every_picture_that_a_page_wants_is_taken_by_a_browser_test() -> None:
    wanted = {
        name
        for page in ROOT.glob("docs/**/*.md")
        for name in re.findall(r"<!-- picture: ([a-z0-9-]+):", page.read_text())
    }
    tests = "".join(path.read_text() for path in ROOT.glob("tests/browser/test_*.py"))
    pages = {"overview": "/", "alerts-incident": "ALERT"}
    for name in wanted:
        page = name.rpartition("-")[0]
        assert pages.get(page, f"/{page.replace('-', '/')}") in tests, name
    assert "wall-dark" in wanted
