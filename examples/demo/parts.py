"""The three parts: jobs, a volume that fills, a burning CPU. Each gives rows for the summary."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psutil

from examples.demo.patience import slowness
from examples.demo.scene import CAPACITY_BYTES, ROOT, PartFailedError, Scene
from shared.items import ITEMS
from shared.storage import S3Store

_DISK = "df.bytes.used.percent"
_FILL_S = 110
"""Seconds in which the volume would be full, on an idle machine."""
_MAX_SLOWNESS = 5
"""A volume that fills still slower shows nothing more."""


@dataclass(frozen=True)
class Row:
    """A line of the summary."""

    part: str
    seen: str
    predicted: str
    due: str
    done: str
    look: str


def jobs(scene: Scene) -> list[Row]:
    """A single and a distributed TensorFlow job: trained, stored, loadable, nothing left."""
    cluster = ("-t", "distribute", "--chief", "--ps", "1", "--workers", "2")
    return [
        _job(scene, "digits-single", ()),
        _job(scene, "digits-ps", cluster),
    ]


def _job(scene: Scene, example: str, options: tuple[str, ...]) -> Row:
    scene.console.rule(f"job {example}")
    job_id, begin = f"demo-{example}", time.monotonic()
    url = scene.stack.file.client_url
    tshell = (sys.executable, "-m", "services.client.tshell", "submit", f"examples/{example}")
    named = ("-d", "train.py", "-n", example, "--id", job_id, "-m", "3Gi", "--wait")
    environment = os.environ | {
        "BAROGRAPH_URL": url,
        "BAROGRAPH_TOKEN": scene.stack.file.client_token,
    }
    ended = subprocess.run([*tshell, *named, *options], cwd=ROOT, env=environment, check=False)
    if ended.returncode != 0:
        raise PartFailedError(f"tshell submit ended with {ended.returncode} for {example}")
    seconds = time.monotonic() - begin
    size = _load_model(scene, job_id)
    scene.wait_for(f"the last process of {job_id} to be gone", lambda: _gone(job_id), 30)
    return Row(
        f"job {example}",
        f"succeeded in {seconds:.0f} s",
        "-",
        "-",
        f"model of {size / 1e3:.0f} kB stored, loaded and asked; no process is left",
        f"{url}/jobs/{job_id}",
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
    with scene.console.status("loading the model with TensorFlow"):
        shape = _answer(keras if keras.exists() else target / "digits")
    if shape != (3, 10):
        raise PartFailedError(f"the model of {job_id} answers with the shape {shape}")
    return size


def _answer(model: Path) -> tuple[int, ...]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf  # noqa: PLC0415 - seconds, and only this part needs it

    load = tf.keras.models.load_model if model.is_file() else tf.saved_model.load
    return tuple(load(str(model))(tf.zeros((3, 64))).shape)


def _gone(job_id: str) -> bool | None:
    """Whether no process knows the job in its command or environment; None while one does."""
    for process in psutil.process_iter(["cmdline"]):
        try:
            texts = [*(process.info["cmdline"] or []), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(job_id in text for text in texts):
            return None
    return True


def logs(scene: Scene) -> list[Row]:
    """Logs fill a volume: predicted before the threshold, cleaned, verified, notified."""
    scene.console.rule("logs fill a volume")
    threshold = ITEMS[_DISK].threshold or 0.0
    fill_s = _FILL_S * min(slowness(), _MAX_SLOWNESS)
    rate = CAPACITY_BYTES / fill_s
    writer = scene.run("examples.demo.chatty", str(scene.volume), str(rate))
    scene.console.print(
        f"{rate / 1e6:.2f} MB/s into a volume of {CAPACITY_BYTES / 1e6:.0f} MB: "
        f"{threshold:.0f} % in about {fill_s * threshold / 100:.0f} s"
    )
    predicted = scene.wait_for(
        "alarm.predicted", lambda: _event(scene, "alarm.predicted"), 40 + fill_s
    )
    scene.console.print(f"predicted: {predicted['sentence']}", markup=False)
    verified = scene.wait_for(
        "remediation.verified", lambda: _event(scene, "remediation.verified"), 120
    )
    if predicted["value"] >= threshold:
        raise PartFailedError(f"it was predicted only at {predicted['value']:.0f} %")
    if not verified["effective"]:
        raise PartFailedError(f"cleaning left {verified['after']:.0f} %")
    if writer.poll() is not None:
        raise PartFailedError(f"what writes the logs ended by itself, with {writer.returncode}")
    if not (scene.volume / "app.log").exists():
        raise PartFailedError("the active log file did not survive")
    mail = scene.wait_for("the mail", lambda: _mail(scene, f"handled: {_DISK}"), 120)
    writer.kill()
    if not any(part.get_content_type() == "image/png" for part in mail.walk()):
        raise PartFailedError("the mail has no plot")
    ahead = (predicted["crossing_ms"] - predicted["time_ms"]) / 1000
    return [
        Row(
            "logs fill a volume",
            f"at {predicted['value']:.0f} %",
            f"{_clock(predicted['time_ms'])}, {ahead:.0f} s ahead",
            f"{_clock(predicted['crossing_ms'])} at {threshold:.0f} %",
            f"clean-logs: {verified['before']:.0f} % -> {verified['after']:.0f} %, verified",
            f"mail: {mail['subject']}",
        )
    ]


def cpu(scene: Scene) -> list[Row]:
    """All cores burn: an alarm, and a mail that names the processes.

    A machine that others keep busy has that alarm already: then its mail is the one to show.
    """
    scene.console.rule("the CPU burns")
    busy = _alarm_of_others(scene)
    if busy is not None:
        return [_burnt(busy, "others' processes", "before", "it was busy already")]
    before, begin = len(scene.mails()), time.time()
    burning = [scene.run("examples.demo.burn") for _ in range(os.cpu_count() or 1)]
    mail = scene.wait_for(
        "the mail that names them",
        lambda: _mail(scene, "alarm: cpu.idle", "examples.demo.burn", since=before),
        180,
    )
    for process in burning:
        process.kill()
    after = f"mailed after {time.time() - begin:.0f} s with the top processes"
    began = f"{_clock(int(begin * 1000))} it began"
    return [_burnt(mail, f"{len(burning)} processes", began, after)]


def _alarm_of_others(scene: Scene) -> EmailMessage | None:
    """The mail about a CPU that others keep busy already; None while it is quiet."""
    if _quiet(scene):
        return None
    return scene.wait_for(
        "the mail about the processes of others",
        lambda: _mail(scene, "alarm: cpu.idle", "Processes"),
        120,
    )


def _burnt(mail: EmailMessage, seen: str, due: str, done: str) -> Row:
    return Row("the CPU burns", seen, "-", due, done, f"mail: {mail['subject']}")


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
        body = mail.get_body(("plain",))
        text = f"{mail['subject']}\n{body.get_content() if body else ''}"
        if all(word in text for word in words):
            return mail
    return None


def _quiet(scene: Scene) -> bool:
    """Whether no alert about the CPU is open."""
    states = [
        e["state"]
        for e in scene.alerts.take()
        if e["key"].startswith("alert.") and e["series"]["item"] == "cpu.idle"
    ]
    return not states or states[-1] == "resolved"


def _clock(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%H:%M:%S}"
