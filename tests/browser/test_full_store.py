"""Every page over a full store: how large it is, and that none is left out."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from bench.full_console import FullConsole
from bench.full_store import JOB
from services.client.api.app import _OF_PAGES

MOST_BYTES = 60_000
"""A page after gzip; plots count, too, though they need not."""
_ELSEWHERE = {
    "/mail": "a mailbox is on one machine only, and its page shows the newest 50",
    "/login/oidc": "it leads away at once",
    "/login/oidc/callback": "the provider leads back to it, and it leads to the overview",
}
"""The pages that a store does not fill."""
_LIVE = re.compile(r'data-refresh="[1-9]')
SCRIPTS = Path(__file__).parents[2] / "services" / "client" / "static"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullConsole]:
    folder = tmp_path_factory.mktemp("full")
    # More than any page shows at once: 300 machines, 100 alerts, 50 jobs.
    with FullConsole(f"sqlite:///{folder}/client.db", 1_600) as made:
        yield made


@pytest.fixture(scope="module")
def http(console: FullConsole) -> Iterator[httpx.Client]:
    with console.signed_in() as made:
        yield made


def test_no_page_is_larger_than_60_kilobytes_after_gzip(
    console: FullConsole, http: httpx.Client
) -> None:
    sizes = {}
    for page in console.pages():
        answer = http.get(page)
        assert answer.status_code == 200, page
        sizes[page] = len(gzip.compress(answer.content))
    large = {page: size for page, size in sizes.items() if size > MOST_BYTES}
    assert large == {}
    assert len(http.get("/machines").text) > 100_000, "the store is full indeed"


def test_every_page_of_the_client_is_among_them(console: FullConsole) -> None:
    shown = {page.partition("?")[0] for page in console.pages()}
    routes = [r for router in _OF_PAGES for r in router.routes if isinstance(r, APIRoute)]
    missing = {
        route.path
        for route in routes
        if "GET" in route.methods
        and not route.path.startswith("/api/")
        and not any(route.path_regex.fullmatch(page) for page in shown)
    }
    assert missing == set(_ELSEWHERE) & missing
    assert "/machines/{name}" not in missing


def test_every_page_that_changes_is_live_and_every_list_is_filtered_by_its_address(
    console: FullConsole, http: httpx.Client
) -> None:
    text = {page: http.get(page).text for page in console.pages() if "offset" not in page}
    still = {page.partition("?")[0] for page, shown in text.items() if not _LIVE.search(shown)}
    # Forms keep what was typed; a job that ended and the older pages of a list do not change.
    assert still == {"/submit", "/silences/new", "/login", f"/jobs/{JOB}"}
    unfiltered = {
        page.partition("?")[0]
        for page, shown in text.items()
        if shown.count("<tr>") + shown.count("<li") > 60 and 'method="get"' not in shown
    }
    whole = {"/", f"/alerts/{console.alert}", f"/jobs/{JOB}", "/ledger", "/settings"}
    assert unfiltered == whole, "the overview, and pages of one thing"


def test_the_own_script_has_at_most_300_lines() -> None:
    lines = [len(each.read_text().splitlines()) for each in SCRIPTS.glob("*.js")]
    assert 0 < sum(lines) <= 300
