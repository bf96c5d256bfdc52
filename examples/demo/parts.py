"""The three parts: jobs, a volume that fills, a burning CPU. Each tells what it showed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psutil

from examples.demo import filling
from examples.demo.filling import CAPACITY_BYTES, filled_bytes
from examples.demo.noise import WithoutNotes
from examples.demo.patience import slowness
from examples.demo.scene import DISK, DISK_THRESHOLD, ROOT, PartFailedError, Scene
from examples.demo.summary import Chapter
from shared.storage import S3Store

_CPU = "cpu.idle"
_INCIDENT = re.compile(r"^http\S+/alerts/\S+$", re.MULTILINE)
"""The address of an incident's page, in its mail."""
_OTHERS_SLOWNESS = 1.3
"""A machine that is slower than this, while nothing of ours computes, is kept busy by others."""
_CALM_S = 90
"""An alert about the CPU that lasts longer, on an idle machine, has another cause than our jobs."""


def jobs(scene: Scene) -> Iterator[Chapter]:
    """A single and a distributed TensorFlow job: trained, stored, loadable, nothing left."""
    yield _job(scene, "digits-single", "one process")
    cluster = ("-t", "distribute", "--chief", "--ps", "1", "--workers", "2")
    yield _job(scene, "digits-ps", "a chief, a parameter server, two workers", *cluster)


def _job(scene: Scene, example: str, members: str, *options: str) -> Chapter:
    scene.console.rule(f"job {example}: {members}")
    job_id, begin = f"demo-{example}", time.monotonic()
    _submit(scene, example, "--id", job_id, *options)
    seconds = time.monotonic() - begin
    size = _load_model(scene, job_id)
    scene.wait_for(f"the last process of {job_id} to be gone", lambda: _gone(job_id), 30)
    return Chapter(
        f"Job {example}: {members}",
        f"It succeeded in {seconds:.0f} s. Its model of {size / 1e3:.0f} kB was stored, loaded "
        "from there and asked. None of its processes is left.",
        page=f"{scene.stack.file.client_url}/jobs/{job_id}",
    )


def _submit(scene: Scene, example: str, *options: str) -> None:
    """Submit it with ``tshell`` and show its log until it has ended."""
    tshell = (sys.executable, "-m", "services.client.tshell", "submit", f"examples/{example}")
    named = ("-d", "train.py", "-n", example, "-m", "3Gi", "--wait")
    environment = os.environ | {
        "BAROGRAPH_URL": scene.stack.file.client_url,
        "BAROGRAPH_TOKEN": scene.stack.file.client_token,
        "PYTHONUNBUFFERED": "1",
    }
    ended = scene.started(
        [*tshell, *named, *options],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    lines = WithoutNotes(ended.stdout or ())
    for line in lines:
        scene.console.print(line, end="", markup=False, highlight=False, soft_wrap=True)
    ended.wait()
    if ended.returncode != 0:
        raise PartFailedError(
            f"the job {example} should have succeeded, but `tshell submit` ended with "
            f"{ended.returncode}; above stands what it said."
        )
    if lines.left_out:
        scene.console.print(
            f"(without {lines.left_out} notes of TensorFlow about its start, which are stored)",
            style="dim",
        )


def _load_model(scene: Scene, job_id: str) -> int:
    """Fetch the model from the store and let TensorFlow answer with it; its size in bytes."""
    file = scene.stack.file
    store = S3Store(file.s3_url, file.s3_access_key, file.s3_secret_key)
    target, prefix, size = scene.directory / "models" / job_id, f"jobs/{job_id}/model/", 0
    for found in store.list("barograph", prefix):
        path = target / found.key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        store.fetch("barograph", found.key, path)
        size += found.size
    keras = target / "digits.keras"
    with scene.working("loading the model with TensorFlow"):
        answered = _answer(keras if keras.exists() else target / "digits")
    if answered != "[3, 10]":
        raise PartFailedError(
            f"the model of {job_id} should answer with the shape [3, 10]: {answered}"
        )
    return size


def _answer(model: Path) -> str:
    """The shape of its answer, or what TensorFlow said instead."""
    program = [sys.executable, "-m", "examples.demo.answer", str(model)]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    return (ended.stdout if ended.returncode == 0 else ended.stderr).strip()


def _gone(job_id: str) -> bool | None:
    """Return that no process has the job in its command or environment; None while one has."""
    for process in psutil.process_iter(["cmdline"]):
        try:
            texts = [*(process.info["cmdline"] or []), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(job_id in text for text in texts):
            return None
    return True


def _check_remediation(
    predicted: dict[str, Any], verified: dict[str, Any], threshold: float
) -> None:
    if predicted["value"] >= threshold:
        raise PartFailedError(f"it was predicted only at {predicted['value']:.0f} %")
    if not verified["effective"]:
        raise PartFailedError(f"cleaning left {verified['after']:.0f} %")


def logs(scene: Scene) -> Iterator[Chapter]:
    """Logs fill a volume: predicted before the threshold, cleaned, verified, told."""
    scene.console.rule("logs fill a volume")
    threshold = DISK_THRESHOLD
    rate = filling.rate(scene.volume, threshold, slowness())
    full_s = (CAPACITY_BYTES * threshold / 100 - filled_bytes(scene.volume)) / rate
    writer = scene.run("examples.demo.chatty", str(scene.volume), str(rate))
    scene.console.print(
        f"{rate / 1e6:.2f} MB/s into a volume of {CAPACITY_BYTES / 1e6:.0f} MB that is "
        f"{_percent(scene)} % full: {threshold:.0f} % in about {full_s:.0f} s"
    )
    predicted = scene.wait_for(
        "the prediction",
        lambda: _event(scene, "alarm.predicted"),
        40 + full_s,
        seen=lambda: f"; the volume is {_percent(scene)} % full",
    )
    scene.console.print(f"predicted: {predicted['sentence']}", markup=False, highlight=False)
    verified = scene.wait_for(
        "the verified remediation", lambda: _event(scene, "remediation.verified"), 120
    )
    _check_remediation(predicted, verified, threshold)
    if writer.poll() is not None:
        raise PartFailedError(f"what writes the logs ended by itself, with {writer.returncode}")
    if not (scene.volume / "app.log").exists():
        raise PartFailedError("the active log file did not survive")
    mail = scene.wait_for("the mail", lambda: _mail(scene, f"handled: {DISK}"), 120)
    writer.kill()
    if not any(part.get_content_type() == "image/png" for part in mail.walk()):
        raise PartFailedError("the mail has no plot")
    ahead = (predicted["crossing_ms"] - predicted["time_ms"]) / 1000
    yield _mailed(
        "Logs fill a volume",
        f"At {_clock(predicted['time_ms'])} UTC it was {predicted['value']:.0f} % full, and "
        f"{threshold:.0f} % was predicted for {_clock(predicted['crossing_ms'])}, {ahead:.0f} s "
        f"later. The remediation clean-logs was allowed to act by itself: {verified['before']:.0f} "
        f"% → {verified['after']:.0f} %, read again and verified. The file that is written to was "
        "spared.",
        mail,
    )


def cpu(scene: Scene) -> Iterator[Chapter]:
    """All cores burn: an alarm, and a mail that names the processes.

    A machine that others keep busy has that alarm already: then its mail is the one to show.
    """
    scene.console.rule("the CPU burns")
    if _others_keep_it_busy(scene):
        mail = scene.wait_for("the mail about them", lambda: _mail(scene, _CPU, "Processes"), 120)
        yield _mailed(
            "The CPU burns",
            "Other programs keep this machine busy, so its alarm came before the demonstration "
            "could cause one. A mail named the busiest processes.",
            mail,
        )
        return
    before, begin = len(scene.mails()), time.time()
    burning = [scene.run("examples.demo.burn") for _ in range(os.cpu_count() or 1)]
    scene.console.print(f"{len(burning)} processes keep every core busy")
    mail = scene.wait_for(
        "the mail that names them",
        lambda: _mail(scene, _CPU, "examples.demo.burn", since=before),
        180,
    )
    for process in burning:
        process.kill()
    yield _mailed(
        "The CPU burns",
        f"From {_clock(int(begin * 1000))} UTC on {len(burning)} processes kept every core busy. "
        f"After {time.time() - begin:.0f} s a mail named them; the policy leaves what to do about "
        "the CPU to people.",
        mail,
    )


def _others_keep_it_busy(scene: Scene) -> bool:
    """Return whether an alert about the CPU is open that is not the demonstration's own.

    Its jobs and the start of its services used the CPU, too: that alert ends by itself.
    """
    if _quiet(scene):
        return False
    if slowness() > _OTHERS_SLOWNESS:
        return True
    scene.console.print("the jobs before raised an alert about the CPU; first it ends")
    try:
        scene.wait_for("the end of that alert", lambda: _quiet(scene) or None, _CALM_S)
    except PartFailedError:
        return True
    return False


def _mailed(title: str, sentences: str, mail: EmailMessage) -> Chapter:
    page = _INCIDENT.search(_text(mail))
    return Chapter(title, sentences, str(mail["subject"]), page.group() if page else "")


def _event(scene: Scene, key: str) -> dict[str, Any] | None:
    """The first such event about the volume."""
    for event in scene.alerts.take():
        mount = event.get("series", {}).get("labels", {}).get("mount")
        if event["key"] == key and mount == str(scene.volume):
            return event
    return None


def _mail(scene: Scene, *words: str, since: int = 0) -> EmailMessage | None:
    """The first mail (from number ``since`` on) whose subject or text has all the words."""
    for mail in scene.mails()[since:]:
        text = _text(mail)
        if all(word in text for word in words):
            return mail
    return None


def _text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return f"{mail['subject']}\n{body.get_content() if body else ''}"


def _quiet(scene: Scene) -> bool:
    """Return whether no alert about the CPU is open."""
    states = [
        e["state"]
        for e in scene.alerts.take()
        if e["key"].startswith("alert.") and e["series"]["item"] == _CPU
    ]
    return not states or states[-1] == "resolved"


def _percent(scene: Scene) -> int:
    """Return how full the volume is."""
    return round(100 * filled_bytes(scene.volume) / CAPACITY_BYTES)


def _clock(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%H:%M:%S}"
