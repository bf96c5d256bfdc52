"""The client's reference pages: its HTTP API, and the commands of ``tshell``."""

from __future__ import annotations

from pathlib import Path

from services.client.api.app import create_app
from services.client.settings import ClientSettings
from services.client.tshell import keeping, submitting, training, watching  # noqa: F401 - they add commands
from services.client.tshell.cli import app
from shared.documents.commands import commands_page
from shared.documents.http_page import ABSENT, http_page

_HTTP = """\
The API that `tshell` and the pages use, served at the client's address. If a token is set, each
request carries it as `Authorization: Bearer TOKEN`, or has a session's cookie. The OpenAPI
document is at `GET /api/v1/openapi.json`. The body of a refusal is `{"faults": [{"field",
"problem"}]}`."""


def pages() -> dict[Path, str]:
    """Path to content of every page."""
    http = create_app(ClientSettings(), *[ABSENT] * 7)
    return {
        Path("docs/reference/tshell.md"): commands_page("tshell", app),
        Path("docs/reference/http-client.md"): http_page("HTTP API", _HTTP, http.openapi()),
    }
