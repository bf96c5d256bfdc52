"""The client's reference pages: its HTTP API, and the commands of ``tshell``."""

from __future__ import annotations

from pathlib import Path

from services.client.api.app import create_app
from services.client.settings import ClientSettings
from services.client.tshell import handing, keeping, training, watching  # noqa: F401 - they add commands
from services.client.tshell.cli import app
from shared.documents.commands import commands_page
from shared.documents.http_page import ABSENT, http_page

_HTTP = """\
What `tshell` and the pages use, served at the client's address. Where a token is set, each request
has it as `Authorization: Bearer TOKEN`, or as the page's cookie. The whole as OpenAPI:
`GET /api/v1/openapi.json`. A refusal's body is `{"faults": [{"field", "problem"}]}`."""


def pages() -> dict[Path, str]:
    """Path to content of every page."""
    http = create_app(ClientSettings(), *[ABSENT] * 7)
    return {
        Path("docs/reference/tshell.md"): commands_page("tshell", app),
        Path("docs/reference/http-client.md"): http_page("HTTP API", _HTTP, http.openapi()),
    }
