"""``test-channel NAME``: sends a test directly, with the settings of this environment."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from services.healer.model.notice import Summary
from services.healer.notify.channels import Channel, ChannelRefused, ChannelUnavailable, Tools
from services.healer.notify.compose import message_id
from services.healer.settings import HealerSettings
from shared.contracts.alerts import Severity
from shared.settings import SettingsError


def test_notice(now: datetime) -> Summary:
    """The notice that a test sends."""
    return Summary(
        message_id=message_id(f"test-{secrets.token_hex(8)}", 1),
        kind="test",
        severity=Severity.INFO,
        headline="this is how Barograph reaches you",
        sentences=("Somebody tests this channel. Nothing is wrong, and nothing is to be done.",),
        at=now,
    )


def tried(channel: Channel, notice: Summary, tools: Tools) -> dict[str, str]:
    """Send it to every recipient, and return the failures by recipient."""
    failed = {}
    for recipient in channel.recipients():
        try:
            channel.send(notice, recipient, tools)
        except (ChannelUnavailable, ChannelRefused) as error:
            failed[recipient or channel.name] = str(error)
    return failed


def test_channel(arguments: Sequence[str]) -> int:
    """Exit status 0 if it was taken, 1 if not, 2 when there is no such channel."""
    try:
        settings = HealerSettings.load("healer")
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    channels = {channel.name: channel for channel in settings.all_channels}
    if len(arguments) != 1 or arguments[0] not in channels:
        sys.stderr.write(f"name one channel of: {', '.join(channels) or 'none is configured'}\n")
        return 2
    tools = Tools(
        smtp_url=settings.smtp_url.get_secret_value(),
        mail_from=settings.mail_from,
        page_url=settings.page_url,
    )
    failed = tried(channels[arguments[0]], test_notice(datetime.now(UTC)), tools)
    for recipient, reason in failed.items():
        sys.stderr.write(f"{recipient}: {reason}\n")
    if not failed:
        sys.stdout.write(f"{arguments[0]} took the test\n")
    return 1 if failed else 0
