"""The stack of the demonstration, whose settings shorten all intervals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console

from examples.demo.filling import CAPACITY_BYTES, filled_before
from examples.demo.patience import slowness, waiting
from examples.demo.tap import Tap
from shared.embedded.stack import Stack
from shared.items import ITEMS

ROOT = Path(__file__).parents[2]
DISK = "df.bytes.used.percent"
DISK_THRESHOLD = ITEMS[DISK].threshold or 0.0
_EVERY_S = 30.0
"""A log of the demonstration shows this often that it goes on."""
_T = TypeVar("_T")

_DETECTOR = {
    "burst_confirm_s": 20,
    "combination": {"mode": "branch"},
    "detectors": {
        "short_term": {"window_points": 60, "blocks": 6, "min_points": 15},
        "long_term": {"min_points": 15, "settle": 5},
    },
}
_PREDICTOR = {
    "resolution_s": 2,
    "horizon": 30,
    "budget_per_step": 5,
    "forecasters": {"arima": {"max_p": 1, "max_q": 1}},
}
_POLICY = {
    "rules": [
        {"items": "df.bytes.used.percent", "level": "automatic", "remediation": "clean-logs"},
        {"items": "cpu.idle", "level": "suggest"},
        {"level": "observe"},
    ]
}

# The jobs' load and the burning CPU are several alerts of one series within minutes.
_ALERTING = {"flapping": {"half_life_s": 60}}


class PartFailedError(Exception):
    """A part did not show what it should; the text says what was missing."""


@dataclass
class Scene:
    """The running stack, what it says, and the child processes of the demonstration."""

    console: Console
    directory: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(prefix="barograph-demo-"))
    )
    keep: bool = False
    stack: Stack = field(init=False)
    alerts: Tap = field(init=False)
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)

    @property
    def volume(self) -> Path:
        """The small directory that fills."""
        return self.directory / "volume"

    def __enter__(self) -> Self:
        # Nothing of the demonstration is for other users of this machine.
        os.umask(0o077)
        self.volume.mkdir()
        filled_before(self.volume, DISK_THRESHOLD, slowness())
        self.stack = Stack(self.directory / "stack", env=self._settings(), say=self._say)
        with self.working("starting RabbitMQ, the S3 server, the mailbox and six services"):
            begin = time.monotonic()
            try:
                self.stack.start()
            except BaseException:
                shutil.rmtree(self.directory, ignore_errors=True)
                raise
        file = self.stack.file
        self.console.print(
            f"Barograph runs ({time.monotonic() - begin:.0f} s). Watch it at\n  {file.client_url}\n"
            f"with the token\n  {file.client_token}",
            soft_wrap=True,
            highlight=False,
        )
        self.alerts = Tap(
            self.stack.broker.admin_url,
            "demo",
            {
                "from.predictor": ["alarm.#"],
                "alerts": ["alert.#", "remediation.verified"],
            },
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whoever is impatient presses Ctrl-C again: what has begun to stop is stopped.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._stop()
        finally:
            signal.signal(signal.SIGINT, before)
        if self.keep or kind is not None:
            file = self.stack.file
            self.console.print(
                f"The services' logs are in\n  {file.logs}\nand the mails in\n  {file.maildir}",
                soft_wrap=True,
            )
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _stop(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()
        with self.working("stopping everything"):
            settings = self.stack.environment("task")
            self.stack.stop()
            # Programs of jobs outlive a stack; nobody will start this one again.
            sweep = [sys.executable, "-m", "services.task", "sweep"]
            subprocess.run(sweep, cwd=ROOT, env=settings, stdout=subprocess.DEVNULL, check=False)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show what takes a while: a terminal as long as it lasts, a log once."""
        if not self.console.is_terminal:
            self._say(text)
        with self.console.status(text):
            yield

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a Python module that is ended with the scene."""
        return self.started([sys.executable, "-m", *arguments])

    def started(self, command: list[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program that is ended with the scene, and not by the Ctrl-C that ends us."""
        child = subprocess.Popen(command, cwd=ROOT, process_group=0, **options)
        self._children.append(child)
        return child

    def mails(self) -> list[EmailMessage]:
        """The mails so far, oldest first."""
        return self.stack.mailbox.messages()

    def wait_for(
        self,
        what: str,
        look: Callable[[], _T | None],
        patience_s: float,
        seen: Callable[[], str] = lambda: "",
    ) -> _T:
        """The result of ``look``; PartFailedError when it finds nothing in ``patience_s`` seconds.

        The seconds are those of an idle machine (see ``patience``); the error says what was seen
        instead, and where to look. Meanwhile the time spent is shown, and what ``seen`` says.
        """
        spent, shown = 0.0, _EVERY_S
        with self.console.status(f"waiting for {what}") as status:
            for spent in waiting(patience_s):
                found = look()
                if found is not None:
                    return found
                text = f"waiting for {what} ({spent:.0f} s{seen()})"
                status.update(text)
                if spent >= shown and not self.console.is_terminal:
                    self._say(text)
                    shown = spent + _EVERY_S
        raise PartFailedError(
            f"{what} did not come within {spent:.0f} s, which on this machine are as good as "
            f"{patience_s:.0f} s on an idle one. {self._seen()}"
        )

    def _seen(self) -> str:
        keys = [event["key"] for event in self.alerts.take()[-5:]]
        subjects = [str(mail["subject"]) for mail in self.mails()[-3:]]
        events = f"The last events: {', '.join(keys)}." if keys else "No event was published."
        mails = f" The last mails: {'; '.join(subjects)}." if subjects else " No mail was sent."
        return events + mails

    def _settings(self) -> dict[str, str]:
        volume = {"path": str(self.volume), "capacity_bytes": CAPACITY_BYTES}
        root = {"root": str(self.volume), "min_age_s": 3}
        items = ["df.bytes.used.percent", "cpu.idle", "host.alive", "mem.memused.percent"]
        return {
            "BAROGRAPH_DETECTOR_ENGINE": json.dumps(_DETECTOR),
            "BAROGRAPH_PREDICTOR_ENGINE": json.dumps(_PREDICTOR),
            "BAROGRAPH_HEALER_POLICY": json.dumps(_POLICY),
            "BAROGRAPH_HEALER_ALERTING": json.dumps(_ALERTING),
            "BAROGRAPH_HEALER_SETTLE_S": "3",
            "BAROGRAPH_AGENT_INTERVAL_S": "1",
            "BAROGRAPH_AGENT_ITEMS": json.dumps(items),
            "BAROGRAPH_AGENT_VOLUMES": json.dumps([volume]),
            "BAROGRAPH_AGENT_CLEAN": json.dumps([root]),
        }
