"""What the generated pages of remediations must have, whoever adds one."""

from __future__ import annotations

import pytest

from services.healer.documents import FOLDER, pages

_PAGES = {path.stem: text for path, text in pages().items() if path.parent == FOLDER}


@pytest.mark.parametrize("name", sorted(_PAGES.keys() - {"README"}))
def test_a_remediation_says_against_what_it_helps_and_what_it_risks(name: str) -> None:
    assert "Against: ." not in _PAGES[name]
    assert "## Risks\n\n- " in _PAGES[name]
    assert f"[{name}]({name}.md)" in _PAGES["README"]
