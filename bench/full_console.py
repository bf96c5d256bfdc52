"""The console over a full store: many alerts, predictions, jobs, cases and machines.

Every page finds as much as it shows at most; detector, predictor and healer answer at once, so a
page's time is its own.
"""

from __future__ import annotations

import math
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

import httpx

from bench.full_store import ITEMS, JOB, fill
from bench.healer_double import machines_of
from services.client.alerts.model import AlertModel
from services.client.api.app import create_app
from services.client.healer_api import HealerApi
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.questions import Questions
from services.client.settings import ClientSettings
from shared.contracts import Curve as KnownCurve
from shared.contracts import (
    CurveAnswered,
    CurveAsk,
    ForecastScore,
    Message,
    ScoresAnswered,
    ScoresAsk,
    SeriesFound,
    SeriesRef,
    SeriesSearch,
    SettingsAnswered,
    SettingsAsk,
    Vote,
)
from shared.contracts.alerts import BandPoint, Point
from shared.contracts.message import deterministic_id
from shared.service import Context
from shared.service.http import HttpServer
from shared.storage import MemoryStore
from shared.store import Store
from shared.weeks import KEPT_WEEKS, week_name, week_of

_HOUR_MS, _MINUTE_MS = 3_600_000, 60_000


class FullConsole:
    """The client's pages as ``Ann`` sees them; a context manager."""

    def __init__(self, store_url: str, many: int = 10_000) -> None:
        self.now, self.token = datetime.now(UTC), secrets.token_urlsafe()
        self.alert = deterministic_id("alert", 0)
        self._kinds = max(1, many // 8)
        self.machines = machines_of(self._kinds)
        self._store = Store(store_url)
        fill(self._store, self.machines, many, self.now)
        self._healer: subprocess.Popen[str] | None = None
        self._knowing = _Knowing(self.machines, self.now)
        self.objects = MemoryStore()
        self._console: HttpServer | None = None
        self._ask_healer: HealerApi | None = None

    def __enter__(self) -> Self:
        double = [sys.executable, "-m", "bench.healer_double", str(self._kinds), self.alert]
        self._healer = subprocess.Popen(
            [*double, self.now.isoformat()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        model, objects = ReadModel(self._store), self.objects
        objects.ensure_bucket("barograph")
        told = {
            "healer_url": _first_line(self._healer),
            "healer_token": "t",
            "api_token": self.token,
        }
        app = create_app(
            ClientSettings.model_validate(told | {"api_token": self.token}),
            self._knowing,
            model,
            AlertModel(self._store),
            objects,
            Logs(model, objects, "barograph"),
            Followers(),
            self._knowing.questions,
        )
        self._ask_healer = app.state.client.healer
        self._console = HttpServer(app, "127.0.0.1", 0)
        self._console.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console is not None:
            self._console.stop()
        if self._healer is not None:
            self._healer.communicate()
        if self._ask_healer is not None:
            self._ask_healer.close()
        self._store.close()

    @property
    def url(self) -> str:
        """The address of the pages."""
        if self._console is None:
            raise RuntimeError("the console is not started")
        return self._console.url

    @contextmanager
    def signed_in(self) -> Iterator[httpx.Client]:
        """A client with Ann's session."""
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as http:
            http.post("/login", data={"token": self.token, "name": "Ann"})
            yield http

    def pages(self) -> tuple[str, ...]:
        """Every page, the long lists with what is asked of them most."""
        series = "/metrics/series?host=db-0&item=df.bytes.used.percent&label=mount%3D%2Fvar"
        return (
            "/",
            "/wall",
            "/alerts",
            "/alerts?search=web-99",
            "/alerts?group=host",
            "/alerts?group=item",
            f"/alerts/{self.alert}",
            "/forecasts",
            "/forecasts?offset=9900",
            "/jobs",
            "/jobs?state=failed",
            "/jobs?search=digits-99",
            "/jobs?search=digits",
            f"/jobs/{JOB}",
            "/submit",
            f"/submit?again={JOB}",
            "/metrics",
            series,
            f"{series}&threshold=55",
            "/machines",
            "/machines?search=web-9",
            "/machines?term=disk+used",
            f"/machines/{self.machines[0]}",
            "/silences",
            "/silences/new",
            "/ledger",
            "/ledger?item=df.bytes.used.percent",
            "/ledger/cases?outcome=hit",
            "/rules",
            "/judgements",
            "/audit",
            "/channels",
            "/settings",
            "/login",
        )


def _first_line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise RuntimeError("its output is not read")
    return process.stdout.readline().strip()


class _Knowing:
    """A broker behind which detector, predictor and task service answer at once."""

    def __init__(self, machines: list[str], now: datetime) -> None:
        self.questions = Questions(self, within_s=0.02)
        self._now = now
        self._series = tuple(
            SeriesRef(host=name, item="df.bytes.used.percent", labels={"mount": "/var"})
            for name in machines[:500]
        )

    def publish(self, messages: Iterable[Message], **_how: object) -> None:
        for message in messages:
            for answer in self._answers(message):
                self.questions.take(answer, Context(self._now, deterministic_id("answer"), 1, None))

    def _answers(self, message: Message) -> Iterator[Any]:
        request = {"request_id": getattr(message, "request_id", "")}
        if isinstance(message, SeriesSearch):
            yield SeriesFound(**request, partition=0, partitions=1, series=self._series, more=True)
        elif isinstance(message, CurveAsk):
            yield CurveAnswered(**request, source="detector", curve=_recent(self._now))
            yield CurveAnswered(**request, source="predictor", curve=_past(self._now))
        elif isinstance(message, ScoresAsk):
            yield ScoresAnswered(**request, partition=0, partitions=1, scores=_scores(self._now))
        elif isinstance(message, SettingsAsk):
            for service in ("autospec", "detector", "healer", "predictor", "task"):
                values = {f"setting_{n}": "a value in force" for n in range(60)}
                yield SettingsAnswered(**request, service=service, instance="one", settings=values)


def _recent(now: datetime) -> KnownCurve:
    now_ms = round(now.timestamp() * 1000)
    times = [now_ms + (n - 64) * _MINUTE_MS for n in range(64)]
    votes = [
        Vote(detector=name, judged=True, anomalous=False, sentence="It is within its usual range.")
        for name in ("surprise", "threshold", "stillness")
    ]
    return KnownCurve(
        points=tuple(Point(at, 70 + n / 40) for n, at in enumerate(times)),
        band=tuple(BandPoint(at, 70, 66, 74) for at in times),
        threshold=80.0,
        votes=tuple(votes),
    )


def _past(now: datetime) -> KnownCurve:
    now_ms = round(now.timestamp() * 1000)
    times = [now_ms + (n - 672) * _HOUR_MS for n in range(672)]
    ahead = [now_ms + n * _HOUR_MS for n in range(1, 169)]
    return KnownCurve(
        points=tuple(Point(at, 50 + n / 32 + 3 * math.sin(n / 3.8)) for n, at in enumerate(times)),
        step_ms=_HOUR_MS,
        forecast=tuple(
            BandPoint(at, 71 + n / 14, 70 + n / 24, 72 + n / 9) for n, at in enumerate(ahead)
        ),
        threshold=80.0,
        probability=0.9,
        why={"points": "672", "season": "24 h", "forecaster": "arima"},
    )


def _scores(now: datetime) -> tuple[ForecastScore, ...]:
    this_week = week_of(round(now.timestamp() * 1000))
    return tuple(
        ForecastScore(
            item=item[0],
            week=week_name(this_week - n),
            judged=1000,
            inside=941,
            chances=500,
            came=40,
            squares=31.5,
        )
        for item in ITEMS
        for n in range(KEPT_WEEKS)
    )
