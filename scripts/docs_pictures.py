"""MkDocs' hook: pages show what `make pictures` photographed, where it has run.

The pictures are no part of the project: they are taken again, by the tests, of pages as they are.
A line `<!-- picture: alerts-light: The list of alerts -->` becomes the picture of this name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PICTURES = Path(__file__).parents[1] / "build" / "pictures"
_WANTED = re.compile(r"<!-- picture: ([a-z0-9-]+): ([^\n]+?) -->")


def on_files(files: Any, config: Any) -> Any:
    """Put the pictures beside the documentation's own files."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - only MkDocs has it

    for each in sorted(_PICTURES.glob("*.png")):
        place = f"pictures/{each.name}"
        files.append(File.generated(config, place, abs_src_path=str(each)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Show each picture that is wanted and there."""
    up = "../" * page.file.src_uri.count("/")
    return shown(markdown, up, _PICTURES)


def shown(markdown: str, up: str, pictures: Path) -> str:
    """The page's text with the pictures of a folder, which its readers find at ``up``pictures."""

    def picture(found: re.Match[str]) -> str:
        name, words = found.groups()
        is_there = (pictures / f"{name}.png").is_file()
        return f"![{words}]({up}pictures/{name}.png)" if is_there else ""

    return _WANTED.sub(picture, markdown)
