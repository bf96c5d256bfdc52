"""The healer's generated pages are what the code says."""

from __future__ import annotations

from pathlib import Path

from services.healer.reference_pages import EVENTS_PAGE, FOLDER, STATES_PAGE, events, pages, states

_ROOT = Path(__file__).parents[3]


def test_every_remediation_has_its_page_and_none_is_stale() -> None:
    found = {path.relative_to(_ROOT): path.read_text() for path in (_ROOT / FOLDER).glob("*.md")}
    assert found == pages(), "run python -m services.healer.reference_pages"
    assert not [path for path, text in found.items() if "Against: ." in text]
    assert all("## Risks\n\n- " in text for path, text in found.items() if path.name != "README.md")


def test_the_page_of_states_is_what_the_tables_say() -> None:
    assert (_ROOT / STATES_PAGE).read_text() == states(), (
        "run python -m services.healer.reference_pages"
    )


def test_the_page_of_log_events_names_all_of_them() -> None:
    assert (_ROOT / EVENTS_PAGE).read_text() == events(), (
        "run python -m services.healer.reference_pages"
    )
