"""The cost of the console's pages over a full store: the last line is JSON.

A store is filled with alerts, open predictions, jobs, cases and machines. Each page is requested
over HTTP on the loopback address: printed are the median wall time and processor time of server
and caller in milliseconds, and the size in bytes after gzip. Then each page is opened in Chromium:
printed are the first contentful paint, its median and its fastest, and the processor time of the
page's main thread until it was loaded. Processor times hold on a busy machine, too.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import os
import statistics
import sys
import tempfile
import time

from bench.full_console import FullConsole
from bench.surroundings import surroundings
from tests.browser.test_page import Browser, until

Costs = dict[str, dict[str, float]]
_PAINT = (
    "return performance.getEntriesByName('first-contentful-paint').map((each) => each.startTime)[0]"
)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000, help="of each kind")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--paints", type=int, default=5, help="times to open each page; 0: none")
    parser.add_argument("--only", default="", help="pages whose address contains this")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        FullConsole(f"sqlite:///{folder}/client.db", options.records) as console,
    ):
        # As in a service, which exempts what it has loaded from the collection of garbage.
        gc.freeze()
        pages = [page for page in console.pages() if options.only in page]
        taken = _requested(console, pages, options.rounds)
        painted = _painted(console, pages, options.paints) if options.paints else {}
    told: Costs = {page: taken[page] | painted.get(page, {}) for page in pages}
    for page, costs in told.items():
        print(f"{page:70} {costs}", file=sys.stderr)
    fields = {"records": options.records, "pages": told, "surroundings": surroundings()}
    print(json.dumps(fields | {"load": os.getloadavg()}))
    return 0


def _requested(console: FullConsole, pages: list[str], rounds: int) -> Costs:
    costs: dict[str, list[tuple[float, float, float]]] = {page: [] for page in pages}
    with console.signed_in() as http:
        for _ in range(rounds):
            for page in pages:
                begun, used = time.perf_counter(), time.process_time()
                answer = http.get(page).raise_for_status()
                wall, cpu = time.perf_counter() - begun, time.process_time() - used
                costs[page].append((wall * 1000, cpu * 1000, len(gzip.compress(answer.content))))
    return {
        page: _medians(("wall_ms", "cpu_ms", "gzip_bytes"), taken) for page, taken in costs.items()
    }


def _painted(console: FullConsole, pages: list[str], times: int) -> Costs:
    browser = Browser()
    browser.start()
    try:
        sign_in(browser, console)
        browser.command("Performance.enable", timeDomain="threadTicks")
        return {page: _paint(browser, console.url + page, times) for page in pages}
    finally:
        browser.stop()


def _paint(browser: Browser, address: str, times: int) -> dict[str, float]:
    paints, busy = [], []
    for _ in range(times):
        browser.open("about:blank")
        browser.open(address)
        until(lambda: browser.run(_PAINT) is not None, 60)
        paints.append(browser.run(_PAINT))
        metrics = browser.asked("Performance.getMetrics")["metrics"]
        busy.append(1000 * next(m["value"] for m in metrics if m["name"] == "TaskDuration"))
    told = {"paint_ms": statistics.median(paints), "fastest_paint_ms": min(paints)}
    return {name: round(value, 1) for name, value in (told | {"page_cpu_ms": min(busy)}).items()}


def sign_in(browser: Browser, console: FullConsole) -> None:
    """Sign Ann in with the console's token."""
    browser.open(f"{console.url}/login")
    fields = json.dumps({"token": console.token, "name": "Ann"})
    browser.run(
        f"for (const [name, text] of Object.entries({fields}))"
        " document.querySelector(`main [name=${name}]`).value = text;"
        "document.querySelector('main button.main').click(); return 1"
    )
    until(lambda: "Signed in as Ann" in browser.text(), 60)


def _medians(names: tuple[str, ...], rows: list[tuple[float, float, float]]) -> dict[str, float]:
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {name: round(statistics.median(column), 1) for name, column in columns}


if __name__ == "__main__":
    raise SystemExit(main())
