"""Links between our documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [
    *ROOT.glob("*.md"),
    *(p for d in ("docs", "bench", "charts") for p in (ROOT / d).rglob("*.md")),
]
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert broken == []


def test_the_index_of_decisions_lists_every_decision() -> None:
    index = ROOT / "docs/decisions/README.md"

    assert sorted(LINK.findall(index.read_text())) == sorted(
        page.name for page in index.parent.glob("[0-9]*.md")
    )


def test_each_decision_has_a_number_of_its_own_which_its_heading_and_the_index_say() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    pages = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    numbers = {page.name: int(page.name[:4]) for page in pages}
    headings = {page.name: int(page.read_text().split(".")[0].strip("# ")) for page in pages}

    assert len(set(numbers.values())) == len(numbers)
    assert headings == numbers
    assert {
        name: int(number)
        for number, name in re.findall(r"^- (\d+): \[.*?\]\((.*?)\)", index, re.MULTILINE)
    } == numbers


def test_the_architecture_page_names_files_that_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    files = [f"/{path.relative_to(ROOT)}" for path in (ROOT / "services").rglob("*.py")]
    files += [f"/{path.relative_to(ROOT)}" for path in (ROOT / "shared").rglob("*.py")]
    modules = re.findall(r"`([\w/]+\.py)`", page)
    folders = re.findall(r"`((?:services|shared)/[\w/]+)`", page)

    assert [name for name in modules if not any(file.endswith(f"/{name}") for file in files)] == []
    assert [name for name in folders if not (ROOT / name).exists()] == []
