"""Mail: text and HTML with the plot, a thread per incident, personal links."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from services.healer.model.notice import Notice, Summary
from services.healer.notify.addresses import address
from services.healer.notify.channels.base import Channel, Tools, channel
from services.healer.notify.channels.errors import (
    ChannelRefused,
    ChannelTooLarge,
    ChannelUnavailable,
)
from services.healer.notify.channels.smtp import (
    MailRefused,
    MailTooLarge,
    MailUnavailable,
    send,
)
from services.healer.notify.render.mail import build


@channel
class Mail(Channel):
    """Sends separately to each recipient, so that one bad address does not affect the others."""

    TYPE: ClassVar[str] = "mail"
    LIMITED: ClassVar[bool] = True

    to: tuple[str, ...] = Field(min_length=1, description="The addresses of the recipients.")

    @field_validator("to")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            address(one)
        return value

    def recipients(self) -> tuple[str, ...]:
        """The addresses."""
        return self.to

    def send(self, notice: Notice | Summary, recipient: str, tools: Tools) -> None:
        """One SMTP session."""
        if not tools.smtp_url:
            raise ChannelUnavailable("no SMTP_URL is set")
        heading = self.title(notice) if self.title_template else ""
        try:
            letter = build(
                notice,
                tools.mail_from,
                (recipient,),
                tools.page_url,
                links=tools.links,
                heading=heading,
                why=self.why(notice),
            )
            send(tools.smtp_url, letter)
        except MailUnavailable as error:
            raise ChannelUnavailable(str(error)) from error
        except MailTooLarge as error:
            raise ChannelTooLarge(str(error)) from error
        except MailRefused as error:
            raise ChannelRefused(str(error)) from error
