"""The client's reference page: the commands of ``tshell``."""

from __future__ import annotations

from pathlib import Path

from services.client.tshell import handing, keeping, watching  # noqa: F401 - they add commands
from services.client.tshell.cli import app
from shared.documents.commands import commands_page


def pages() -> dict[Path, str]:
    """Path to content of every page."""
    return {Path("docs/reference/tshell.md"): commands_page("tshell", app)}
