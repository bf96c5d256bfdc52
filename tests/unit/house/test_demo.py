"""What `make demo` shows: a job's lines without TensorFlow's notes, and links that are whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from rich.console import Console

from examples.demo import filling, parts, summary
from examples.demo import scene as scene_module
from examples.demo.noise import WithoutNotes
from examples.demo.scene import PartFailedError, Scene
from examples.demo.summary import Chapter
from examples.demo.tap import Tap
from shared.embedded.stack import Stack
from shared.embedded.stackfile import StackFile

_T = TypeVar("_T")
_NOTES = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
    "I0000 00:00:1795945873.191225   22217 port.cc:153] oneDNN custom operations are on.\n",
    "worker-0  WARNING: All log messages before absl::InitializeLog() is called are written\n",
    "ps-1/2  I0000 00:00:1795945912.374231   22405 port.cc:153] oneDNN custom operations are on.\n",
]
_LINES = [
    "epoch 1/8 loss 2.0790\n",
    "chief-0  WARNING: the learning rate is high\n",
    "worker-0  E0000 00:00:1795945912.374231   22405 rpc.cc:12] connection lost\n",
    "WARNING:tensorflow:5 out of the last 5 calls triggered tf.function retracing\n",
]


def test_notes_of_tensorflow_about_its_start_are_left_out_and_counted_and_nothing_else() -> None:
    shown = WithoutNotes([line for pair in zip(_NOTES, _LINES, strict=True) for line in pair])
    assert list(shown) == _LINES
    assert shown.left_out == len(_NOTES)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_summary_fits_its_width_and_leaves_links_and_tokens_whole(width: int) -> None:
    out = StringIO()
    page = "http://127.0.0.1:19623/alerts/006da105-dc6f-5bbb-86e1-5f252564747b"
    sentences, mail = (
        "Predicted, cleaned, verified. " * 9,
        "[critical] handled: [x] is out of danger",
    )
    chapters = [Chapter("Logs fill a volume", sentences, mail, page), Chapter("Job", sentences)]
    file = StackFile.model_construct(client_url="http://127.0.0.1:19623", client_token="t" * 60)

    summary.show(Console(file=out, width=width), chapters, file)

    lines = out.getvalue().splitlines()
    addresses = {f"  {page}", f"  {file.client_url}", f"  {file.client_token}"}
    assert addresses <= set(lines)
    assert max(len(line) for line in lines if line not in addresses) <= width
    words = " ".join(out.getvalue().split())
    assert sentences.strip() in words
    assert f"Mail: {mail}" in words


def test_what_is_stopped_is_not_offered_at_the_end() -> None:
    out = StringIO()
    summary.show(Console(file=out), [Chapter("Job", "It succeeded.")], None)
    assert "http" not in out.getvalue()
    assert "token" not in out.getvalue()


@pytest.mark.parametrize("slowness", [1.0, 1.4, 2.0, 5.0, 60.0])
def test_a_slow_machine_fills_the_volume_slowly_but_not_from_empty(
    tmp_path: Path, slowness: float
) -> None:
    filling.filled_before(tmp_path, 90, slowness)
    before = filling.filled_bytes(tmp_path) / filling.CAPACITY_BYTES
    rate = filling.rate(tmp_path, 90, slowness) / filling.CAPACITY_BYTES
    assert 99 - 1 <= (0.9 - before) / rate <= 180 + 1
    assert rate == pytest.approx(1 / (110 * min(slowness, 5)), rel=1e-6)


def test_a_machine_that_is_idle_again_fills_the_volume_no_faster_than_it_is_learnt(
    tmp_path: Path,
) -> None:
    filling.filled_before(tmp_path, 90, 5.0)
    left = 0.9 * filling.CAPACITY_BYTES - filling.filled_bytes(tmp_path)
    assert left / filling.rate(tmp_path, 90, 1.0) == pytest.approx(99)


class _Passing:
    """A scene of which only the waiting counts."""

    def __init__(self) -> None:
        self.out = StringIO()
        self.scene = Scene(Console(file=self.out, width=100), directory=Path("/nowhere"))
        self.scene.alerts = cast("Tap", SimpleNamespace(take=list))
        self.scene.mails = list


def test_a_log_shows_now_and_then_what_is_waited_for_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scene_module, "waiting", lambda _: iter(range(100)))
    passing = _Passing()
    with pytest.raises(PartFailedError):
        passing.scene.wait_for("rain", lambda: None, 100, seen=lambda: "; it is cloudy")
    assert passing.out.getvalue().splitlines() == [
        f"waiting for rain ({seconds} s; it is cloudy)" for seconds in (30, 60, 90)
    ]


def test_ctrl_c_reaches_the_demonstration_alone_which_ends_what_it_has_started() -> None:
    child = _Passing().scene.started([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert os.getpgid(child.pid) == child.pid
    finally:
        child.communicate()


def test_nothing_of_an_interrupted_demonstration_goes_on_not_even_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    scene = Scene(Console(file=StringIO()), directory=tmp_path)

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # the second one
        done.append("stopped")

    def run(command: list[str], env: dict[str, str], **_: object) -> None:
        done.append((command[1:], env))

    monkeypatch.setattr(subprocess, "run", run)
    settings = {"BAROGRAPH_TASK_WORK_DIR": "here"}
    file = SimpleNamespace(logs="logs", maildir="mails")
    stack = SimpleNamespace(stop=stop, environment=lambda _: settings, file=file)
    scene.stack = cast("Stack", stack)
    handler = signal.getsignal(signal.SIGINT)

    scene.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert done == ["stopped", (["-m", "services.task", "sweep"], settings)]
    assert signal.getsignal(signal.SIGINT) is handler


def test_what_takes_a_while_is_said_before_it_begins() -> None:
    passing = _Passing()
    with passing.scene.working("loading the model"):
        assert "loading the model" in passing.out.getvalue()


def _mail(subject: str, text: str) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = subject
    mail.set_content(text)
    return mail


class _Machine:
    """A scene whose mails and alerts about the CPU are given: one more state at each look."""

    def __init__(self, states: list[str]) -> None:
        self.console = Console(file=StringIO())
        self.mailbox = [_mail("[warning] predicted: cpu.idle", "Processes\n1 train.py")]
        self.burning: list[str] = []
        self.alerts = SimpleNamespace(take=self._take)
        self._coming, self._events = states, list[dict[str, Any]]()

    def _take(self) -> list[dict[str, Any]]:
        if self._coming:
            event = {"state": self._coming.pop(0), "series": {"item": "cpu.idle"}}
            self._events.append({"key": f"alert.{event['state']}", **event})
        return self._events

    def mails(self) -> list[EmailMessage]:
        return self.mailbox

    def run(self, module: str) -> SimpleNamespace:
        if not self.burning:
            self.mailbox.append(_mail("[warning] alarm: cpu.idle", f"Processes\n2 {module}"))
        self.burning.append(module)
        return SimpleNamespace(kill=lambda: None)

    def wait_for(self, what: str, look: Callable[[], _T | None], patience_s: float) -> _T:
        for _ in range(5):
            if (found := look()) is not None:
                return found
        raise PartFailedError(what)


def _burnt(machine: Any) -> Iterator[Chapter]:
    return parts.cpu(machine)


def test_the_alert_that_its_own_jobs_raised_ends_before_the_demonstration_burns_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "slowness", lambda: 1.0)
    machine = _Machine(["predicted", "firing", "resolved"])
    (chapter,) = _burnt(machine)
    assert set(machine.burning) == {"examples.demo.burn"}
    assert chapter.mail == "[warning] alarm: cpu.idle"


@pytest.mark.parametrize(("slowness", "why"), [(2.0, "others compute"), (1.0, "it does not end")])
def test_a_machine_that_others_keep_busy_shows_the_mail_about_them(
    monkeypatch: pytest.MonkeyPatch, slowness: float, why: str
) -> None:
    monkeypatch.setattr(parts, "slowness", lambda: slowness)
    machine = _Machine(["firing"])
    (chapter,) = _burnt(machine)
    assert machine.burning == [], why
    assert chapter.mail == "[warning] predicted: cpu.idle"
    assert "Other programs keep this machine busy" in chapter.sentences
