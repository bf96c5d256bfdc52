"""A console on a real stack, with a browser in which somebody signs in."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from shared.embedded.stack import MODULES, Stack
from shared.messaging import Bus
from shared.topology import Principal
from tests.alert_desk import ALERTING, alarm, published
from tests.browser.test_page import Browser, until
from tests.remote_write import V1, compressed, request_1
from tests.waiting import LIMIT_S

WAIT_S = LIMIT_S


class Console:
    """Client and healer, a browser in which Ann has signed in, and three alarms."""

    def __init__(self, folder: Path, channels: Sequence[Mapping[str, str]] = ()) -> None:
        env = {"BAROGRAPH_HEALER_ALERTING": json.dumps(ALERTING)}
        if channels:
            env["BAROGRAPH_HEALER_CHANNELS"] = json.dumps(list(channels))
        modules = {
            name: MODULES[name] for name in ("client", "task", "healer", "detector", "predictor")
        }
        self.stack = Stack(folder / "stack", env=env, modules=modules)
        self.stack.start()
        self.url = self.stack.file.client_url
        headers = {"Authorization": f"Bearer {self.stack.file.healer_token}"}
        self.healer = httpx.Client(base_url=self.stack.file.healer_url, headers=headers, timeout=60)
        self.browser = Browser()
        self.browser.start()

    def sign_in(self, name: str) -> None:
        self.browser.open(f"{self.url}/login")
        self.fill("token", self.stack.file.client_token)
        self.fill("name", name)
        self.press("Sign in")
        until(lambda: f"Signed in as {name}" in self.browser.text(), 60)

    def alarms(self, *hosts: str) -> None:
        bus = Bus(self.stack.file.broker_urls["detector"], Principal.DETECTOR, "console")
        bus.start(consume=False)
        bus.wait_ready()
        until(lambda: published(bus, *(alarm(host, "cpu.user") for host in hosts)), WAIT_S)
        bus.stop()

    def history(self, host: str, days: int) -> None:
        """A disk that fills, and a clock that is wrong hour by hour, until now."""
        now_ms = time.time_ns() // 1_000_000
        times = range(now_ms - days * 86_400_000, now_ms, 900_000)
        disk = [(at, 40 + 20 * n / len(times) + n % 3) for n, at in enumerate(times)]
        named = {"__name__": "df.bytes.used.percent", "instance": host, "mount": "/var"}
        for at in times[::4]:
            clock = {"__name__": "sys.ntpd.offset", "instance": host}
            self.write(request_1((clock, [(at, 300.0 + at % 7), (at + 2_700_000, 310.0)])))
        # At once: the predictor forecasts after each hour that is told by itself.
        self.write(request_1((named, disk)))

    def write(self, body: bytes) -> None:
        """Send samples to the gateway."""
        headers = {
            "Authorization": f"Bearer {self.stack.file.gateway_token}",
            "Content-Type": V1,
            "Content-Encoding": "snappy",
        }
        address = f"{self.stack.file.gateway_url}/api/v1/write"
        answer = httpx.post(address, content=compressed(body), headers=headers, timeout=60)
        answer.raise_for_status()

    def fill(self, name: str, text: str) -> None:
        self.browser.run(
            f"document.querySelector('main [name={name}]').value = {json.dumps(text)}; return 1"
        )

    def choose(self, *hosts: str) -> None:
        for host in hosts:
            label = json.dumps(f'[aria-label="Select cpu.user on {host}"]')
            assert self.browser.run(f"document.querySelector({label}).click(); return 1")

    def press(self, words: str) -> None:
        found = self.browser.run(
            "const b = [...document.querySelectorAll('main button')]"
            f".find((b) => b.textContent === {json.dumps(words)}); b?.click(); return !!b"
        )
        assert found, f"no button {words}"

    def press_link(self, words: str) -> None:
        found = self.browser.run(
            "const a = [...document.querySelectorAll('main a')]"
            f".find((a) => a.textContent === {json.dumps(words)}); a?.click(); return !!a"
        )
        assert found, f"no link {words}"

    def ask(self, path: str) -> Any:
        return self.healer.get(f"/api/v1/{path}").raise_for_status().json()

    def audited(self) -> list[dict[str, Any]]:
        text = self.healer.get("/api/v1/audit").raise_for_status().text
        return [json.loads(line) for line in text.splitlines()]

    def stop(self) -> None:
        self.browser.stop()
        self.healer.close()
        self.stack.stop()
