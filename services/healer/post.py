"""The way of mails: each is tried until the server takes or refuses it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import structlog

from services.healer.mail.message import build
from services.healer.mail.smtp import MailRefused, MailUnavailable, send
from services.healer.records import MAILS, Mail
from services.healer.settings import HealerSettings
from shared.observe import MAILS as COUNTED
from shared.service import ServiceUnit

log = structlog.get_logger(__name__)

_AT_ONCE = 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5, 600


class Post:
    """Sends the mails that are due.

    A crash between the server's yes and our note of it sends a mail twice, with the same
    Message-ID, by which mail programs show it once.
    """

    def __init__(
        self,
        settings: HealerSettings,
        unit: Callable[[], AbstractContextManager[ServiceUnit]],
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._unit = unit
        self._clock = clock

    def run(self) -> None:
        """One pass."""
        if not self._settings.recipients:
            return
        with self._unit() as unit:
            due = unit.records.find(
                MAILS, status="pending", due_before=self._clock(), limit=_AT_ONCE
            )
        for mail in due:
            tried = self._try(mail)
            with self._unit() as unit:
                unit.records.put(MAILS, tried)

    def _try(self, mail: Mail) -> Mail:
        settings = self._settings
        letter = build(mail.notice, settings.mail_from, settings.recipients, settings.page_url)
        kept = self._clock() + timedelta(days=settings.keep_days)
        attempts = mail.attempts + 1
        try:
            send(settings.smtp_url.get_secret_value(), letter)
        except MailUnavailable as error:
            pause = min(_FIRST_PAUSE_S * 2**mail.attempts, _LONGEST_PAUSE_S)
            due = self._clock() + timedelta(seconds=pause)
            log.warning("mail_postponed", message_id=mail.notice.message_id, reason=str(error),
                        again_in_s=pause)  # fmt: skip
            update = {"attempts": attempts, "problem": str(error), "due": due}
        except MailRefused as error:
            log.warning("mail_refused", message_id=mail.notice.message_id, reason=str(error))
            COUNTED.labels("failed").inc()
            update = {"status": "refused", "problem": str(error), "due": kept}
        else:
            COUNTED.labels("sent").inc()
            update = {"status": "sent", "attempts": attempts, "due": kept}
        return mail.model_copy(update=update)
