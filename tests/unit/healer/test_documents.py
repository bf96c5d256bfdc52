"""Every remediation's generated page says what people must know of it, whoever added it."""

from __future__ import annotations

import pytest

from services.healer.documents import FOLDER, remediations
from services.healer.remediations import REGISTRY


@pytest.mark.parametrize("name", sorted(REGISTRY.own()))
def test_a_remediation_says_against_what_it_helps_and_what_it_risks(name: str) -> None:
    pages = remediations()
    assert "Against: ." not in pages[FOLDER / f"{name}.md"]
    assert "## Risks\n\n- " in pages[FOLDER / f"{name}.md"]
    assert f"[{name}]({name}.md)" in pages[FOLDER / "README.md"]
