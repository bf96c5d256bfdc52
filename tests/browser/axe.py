"""What axe, the common checker of accessibility, finds wrong with the page a browser shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.foreign import node_root

if TYPE_CHECKING:
    from tests.browser.test_page import Browser

_RUN = """
return axe.run(document, { resultTypes: ["violations"] }).then((found) => found.violations
  .map((each) => each.id + ": " + each.help + " "
    + each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")));
"""


def violations(browser: Browser) -> list[str]:
    """One line for each rule that the page breaks, with the first elements that do."""
    # The driver evaluates it beside the page: the page's own policy lets no such script in.
    browser.run((node_root() / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = browser.run(_RUN)
    assert isinstance(found, list), found
    return [str(each) for each in found]
