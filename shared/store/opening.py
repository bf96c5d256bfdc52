"""Opens a store, waiting for a database that is starting or restarting."""

from __future__ import annotations

import time

import structlog
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from shared.setting_names import SettingsError
from shared.store.engine import engine
from shared.store.errors import StoreUnavailable, StoreUnfit
from shared.store.store import Store

log = structlog.get_logger(__name__)

STARTING_S = 60.0
"""The seconds for which a service that starts waits for its database."""
_PAUSE_S = 1.0
_NO_URL = (
    "STORE_URL is not the URL of a database that can be used here: sqlite:///FILE or "
    "postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME"
)


def opened(url: str, wait_s: float = STARTING_S, pause_s: float = _PAUSE_S) -> Store:
    """The store of ``url``, its schema current; tried again until the time is over.

    A service that ended instead would be started again later and later. SQLite's files are there
    or not, and a database that refuses rights goes on doing so: neither is waited for.

    Raises:
        SettingsError: when ``url`` names no database.
        StoreUnavailable: with the database, the last reason and what to do, in one line.
    """
    is_file = _checked(url)
    begin = time.monotonic()
    while True:
        try:
            return Store(url)
        except StoreUnfit as error:
            raise StoreUnavailable(
                f"the database {_shown(url)} cannot be used: {error}; {error.advice}"
            ) from error
        except StoreUnavailable as error:
            reason = " ".join(str(error).split())
            waited_s = time.monotonic() - begin
            if is_file or waited_s >= wait_s:
                raise StoreUnavailable(_given_up(url, is_file, waited_s, reason)) from error
            log.warning("database_awaited", error=reason)
            time.sleep(pause_s)


def _checked(url: str) -> bool:
    """Return whether ``url`` names a file; its own text is never shown, as it has the password."""
    try:
        made = engine(url)
    except (ArgumentError, ImportError, ValueError):
        raise SettingsError(_NO_URL) from None
    made.dispose()
    return made.dialect.name == "sqlite"


def _shown(url: str) -> str:
    """The URL without passwords, one of which may be in its query."""
    return make_url(url).set(query={}).render_as_string(hide_password=True)


def _given_up(url: str, is_file: bool, waited_s: float, reason: str) -> str:
    database = _shown(url)
    if is_file:
        advice = "make its directory, and let this user write there, or correct STORE_URL"
        return f"the database {database} cannot be opened: {reason}; {advice}"
    advice = "start the database and let this machine reach it, or correct STORE_URL"
    tried = f"could not be used for {waited_s:.0f} s" if waited_s >= 1 else "cannot be used"
    return f"the database {database} {tried}: {reason}; {advice}"
