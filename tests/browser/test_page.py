"""tshell and the page in a real browser, on a real broker, object store and job."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from shared.embedded.process import free_ports
from tests.brokers import BrokerUnderTest
from tests.browser.axe import violations
from tests.conftest import ObjectStoreUnderTest
from tests.doors import job_door
from tests.strangers import open_way_to
from tests.waiting import LIMIT_S, eventually

PROGRAM = """import os, time
print("the first line", flush=True)
number = 0
while not os.path.exists({seen!r}):
    print("line", number, flush=True)
    number += 1
    time.sleep(0.2)
print("the last line", flush=True)
"""
_CLICK_THE_BAR = (
    "document.querySelector('a[data-log=\"worker-0\"] rect.running')"
    ".dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }))"
)
SCRIPT_MS = 600_000
"""For a script in a page: axe took more than the usual 30 s on a busy machine."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,850",
)


class Browser:
    """Chromium, driven over WebDriver."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=SCRIPT_MS / 1000, trust_env=False
        )
        self._session = ""

    def start(self) -> None:
        until(self._answers)
        options = {
            "goog:chromeOptions": {"args": list(FLAGS)},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": SCRIPT_MS},
        }
        answer = self._http.post("/session", json={"capabilities": {"alwaysMatch": options}})
        self._session = f"/session/{answer.raise_for_status().json()['value']['sessionId']}"

    def open(self, url: str) -> None:
        self._http.post(f"{self._session}/url", json={"url": url}).raise_for_status()

    def seen_as(self, width: int, scheme: str) -> None:
        """From now on on a screen this wide, by a person who wants pages light or dark."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        for cmd, params in (
            ("Emulation.setDeviceMetricsOverride", screen),
            ("Emulation.setEmulatedMedia", media),
        ):
            body = {"cmd": cmd, "params": params}
            answer = self._http.post(f"{self._session}/goog/cdp/execute", json=body)
            answer.raise_for_status()

    def text(self) -> str:
        script = {"script": "return document.body.innerText", "args": []}
        return str(self._http.post(f"{self._session}/execute/sync", json=script).json()["value"])

    def run(self, script: str) -> Any:
        body = {"script": script, "args": []}
        return self._http.post(f"{self._session}/execute/sync", json=body).json()["value"]

    def count(self, selector: str) -> int:
        script = "return document.querySelectorAll(arguments[0]).length"
        answer = self._http.post(
            f"{self._session}/execute/sync", json={"script": script, "args": [selector]}
        )
        return int(answer.json()["value"])

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file, or a folder where the control takes one, as a person would."""
        asked = {"using": "css selector", "value": selector}
        found = self._http.post(f"{self._session}/element", json=asked).json()["value"]
        (element,) = found.values()
        chosen = {"text": str(path)}
        answer = self._http.post(f"{self._session}/element/{element}/value", json=chosen)
        answer.raise_for_status()

    def drop_files(self, selector: str, *paths: Path) -> None:
        """Drop files or folders on an element, as from a file manager."""
        self.run(f"document.querySelector('{selector}').scrollIntoView(); return 1")
        middle = (
            f"const box = document.querySelector('{selector}').getBoundingClientRect();"
            "return [box.left + box.width / 2, box.top + 20]"
        )
        x, y = self.run(middle)
        data = {"items": [], "files": [str(each) for each in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.command("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def press_key(self, key: str) -> None:
        """Press a key and let it go, as on a keyboard."""
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("rawKeyDown", "keyUp"):
            fields = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self.command("Input.dispatchKeyEvent", **fields)

    def command(self, name: str, **parameters: Any) -> None:
        """A command of the DevTools protocol."""
        self.asked(name, **parameters)

    def asked(self, name: str, **parameters: Any) -> Any:
        """The answer to a command of the DevTools protocol."""
        body = {"cmd": name, "params": parameters}
        answer = self._http.post(f"{self._session}/goog/cdp/execute", json=body)
        return answer.raise_for_status().json()["value"]

    def log(self) -> list[str]:
        """What the console has said since it was asked last, violations of a policy among it."""
        answer = self._http.post(f"{self._session}/se/log", json={"type": "browser"})
        return [str(entry["message"]) for entry in answer.raise_for_status().json()["value"]]

    def picture(self, path: Path) -> None:
        """Photograph what is seen; where `make pictures` asks for it, for the documentation."""
        shot = self._http.get(f"{self._session}/screenshot").json()["value"]
        path.write_bytes(base64.b64decode(shot))
        if folder := os.environ.get("PICTURES"):
            shutil.copyfile(path, Path(folder) / path.name)

    def stop(self) -> None:
        if self._session:
            self._http.delete(self._session)
        self._http.close()
        self._driver.terminate()
        self._driver.wait(60)

    def _answers(self) -> bool:
        try:
            return bool(self._http.get("/status").json()["value"]["ready"])
        except httpx.HTTPError:
            return False


def until(condition: Callable[[], object], timeout_s: float = LIMIT_S) -> None:
    eventually(condition, "what the page is to show", timeout_s)


def _a_bar_of_the_timeline_leads_to_its_place_in_the_log(browser: Browser) -> None:
    browser.run(f"document.getElementById('log-search').value = '';{_CLICK_THE_BAR}")
    chosen = "return document.getElementById('log-member').value"
    assert browser.run(chosen) == "worker-0"
    assert "the first line" in browser.run("return document.querySelector('.jumped').textContent")
    assert browser.run("return document.activeElement.id") == "log"
    browser.run("document.getElementById('log-times').click()")
    times = browser.run("return document.querySelector('#log time').innerText.trim()")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", times)
    browser.run("document.getElementById('log-wrap').click()")
    space = "return getComputedStyle(document.getElementById('log')).whiteSpace"
    assert browser.run(space) == "pre"


def test_a_folder_is_submitted_followed_and_seen_in_the_browser(
    broker: BrokerUnderTest, object_store: ObjectStoreUnderTest, tmp_path: Path
) -> None:
    folder = tmp_path / "counting"
    (folder / "code").mkdir(parents=True)
    seen = tmp_path / "seen"
    open_way_to(tmp_path)  # the job's user has to see the file
    (folder / "code" / "main.py").write_text(PROGRAM.format(seen=str(seen)))
    browser = Browser()
    with job_door(broker, object_store, tmp_path) as door:
        handed = door.tshell("submit", str(folder), "-m", "1500Mi", "--json")
        assert handed.returncode == 0, handed.stderr
        job_id = json.loads(handed.stdout)["job_id"]
        door.platform.until(
            lambda: "the first line" in door.tshell("logs", job_id).stdout, "the first line"
        )
        # The lines of a member and what its job is come over two queues.
        door.platform.until(
            lambda: door.tshell("status", job_id).stdout.startswith("running"), "its running"
        )
        try:
            browser.start()
            browser.open(f"{door.url}/jobs/{job_id}")
            before = browser.text().count("line ")
            until(lambda: browser.text().count("line ") > before + 2, 60)
            browser.picture(tmp_path / "job.png")
            typed = "const s = document.getElementById('log-search'); s.value = 'THE FIRST';"
            browser.run(f"{typed} s.dispatchEvent(new Event('input'))")
            visible = "return document.getElementById('log').innerText.trim()"
            until(lambda: browser.run(visible).endswith("the first line"))
            assert "line 1" not in browser.run(visible)
            assert browser.count("svg rect.running") == 2, "the job's bar and its member's"
            _a_bar_of_the_timeline_leads_to_its_place_in_the_log(browser)
            assert violations(browser) == []
            browser.open(f"{door.url}/jobs")
            browser.picture(tmp_path / "jobs.png")
            assert job_id in browser.text()
        finally:
            browser.stop()
            seen.touch()
        followed = door.tshell("logs", "-f", job_id)
        assert followed.returncode == 0, followed.stderr
        assert "the last line" in followed.stdout
        assert door.tshell("status", job_id).stdout.startswith("succeeded")
