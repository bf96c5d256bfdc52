"""The records of a full store: alerts, predictions, jobs and cases, and some with all there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from bench.healer_double import groups_of, health_of
from services.client import handlers
from services.client.alerts.alerting import REPORTS, RULES, SILENCES, Report
from services.client.alerts.cases import CASES, COUNTED_ITEMS, Case, CountedItem, Outcome
from services.client.alerts.handlers import action_changed
from services.client.alerts.judgements import JUDGEMENTS, Judgement
from services.client.alerts.machines import HEALTH, STOPS, Stop
from services.client.alerts.records import ALERTS, CURVES, EPISODES, AlertView, Curve, Episode
from services.client.records import JOBS, USAGE, JobView
from services.client.usage_curve import UsageCurve, UsagePoint
from shared.contracts import (
    ActionChanged,
    Artifact,
    CorrelationChanged,
    JobAccepted,
    JobRunning,
    JobSubmit,
    JobSucceeded,
    Member,
    Message,
    PodExited,
    PodMeasured,
    PodReported,
    PodStarted,
    RuleState,
    SilenceChanged,
)
from shared.contracts.message import deterministic_id
from shared.service import Context
from shared.store import Store
from shared.weeks import KEPT_WEEKS, week_of

JOB = "digits-distributed"
"""The job that has many members and results."""
_MINUTE_MS = 60_000
_WORKERS, _RESULTS = 60, 200
_STATES = ("running", "succeeded", "failed", "starting")
ITEMS = (
    ("df.bytes.used.percent", "mount=/var", 91.5, 80.0, "disk"),
    ("mem.memused.percent", "", 96.0, 90.0, "memory"),
    ("cpu.idle", "", 3.0, 10.0, "cpu"),
    ("net.if.in.errors", "iface=eth0", 12.0, None, "network"),
)
_HANDLERS: dict[type[Message], Callable[[Any, Context], Any]] = {
    ActionChanged: action_changed,
    JobAccepted: handlers.job_event,
    JobRunning: handlers.job_event,
    JobSucceeded: handlers.job_event,
    PodReported: handlers.pod_reported,
    PodStarted: handlers.pod_started,
    PodMeasured: handlers.pod_measured,
    PodExited: handlers.pod_exited,
}


def fill(store: Store, machines: list[str], many: int, now: datetime) -> None:
    """Write ``many`` records of each kind, and one job with all there can be."""
    alerts = [_alert(n, machines[n % len(machines)], now) for n in range(many)]
    with store.transaction() as records:
        records.put_all(ALERTS, alerts)
    predictions = [_prediction(alert, n, now) for n, alert in enumerate(alerts)]
    with store.transaction() as records:
        records.put_all(EPISODES, predictions)
        records.put_all(CURVES, [_curve(each, now) for each in predictions[:200]])
    with store.transaction() as records:
        records.put_all(JOBS, [_job(n, now) for n in range(many)])
    with store.transaction() as records:
        records.put_all(HEALTH, [health_of(name, n, now) for n, name in enumerate(machines)])
        groups = enumerate(groups_of(machines))
        records.put_all(HEALTH, [health_of(name, n, now, scope="group") for n, name in groups])
        records.put(STOPS, Stop(hosts="lab-*", by="Ann", reason="disks are replaced", at=now))
        records.put_all(RULES, [_rule(n, now) for n in range(80)])
        records.put_all(SILENCES, [_silence(n, now) for n in range(40)])
        records.put(REPORTS, Report(at=now, muted=40))
        records.put_all(COUNTED_ITEMS, [CountedItem(item=item[0]) for item in ITEMS])
        records.put_all(JUDGEMENTS, [_judgement(n, a, now) for n, a in enumerate(alerts[:150])])
        records.put_all(CASES, [_case(n, alert, now) for n, alert in enumerate(alerts)])
    with store.transaction() as records:
        proposed = [_action(n, alert, now) for n, alert in enumerate(alerts[:60])]
        for n, message in enumerate((*proposed, *_of_a_job(now))):
            context = Context(now, deterministic_id("full", n), 1, records)
            _HANDLERS[type(message)](message, context)
        records.put_all(USAGE, [_usage(n, now) for n in range(_WORKERS)])


def _rule(number: int, now: datetime) -> CorrelationChanged:
    state = list(RuleState)[number % 4]
    return CorrelationChanged(
        rule_id=deterministic_id("rule", number),
        sequence=1,
        state=state,
        scope=("machine", "web")[number % 2],
        cause=("net.if.errors", "disk.io.util", "mem.memused.percent")[number % 3],
        effect=("http.latency.p99", "load.1min.percore", "swap.used.percent")[number % 3],
        support=0.12,
        confidence=0.86,
        lift=4.2,
        lag_s=90.0,
        count=23,
        transactions=190,
        by="Ann" if state in (RuleState.ACCEPTED, RuleState.REJECTED) else "",
        at=now,
    )


def _silence(number: int, now: datetime) -> SilenceChanged:
    begin = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=10 * number)
    weekly = {"rule": "FREQ=WEEKLY;BYDAY=SU", "first": "2026-01-04T22:00", "duration_s": 7200}
    return SilenceChanged.model_validate(
        {
            "silence_id": f"s{number}",
            "sequence": 1,
            "matchers": [f'host=~"web-{number}.*"'],
            "starts_at": now - timedelta(hours=1),
            "ends_at": now + timedelta(hours=number - 4.5),
            "owner": "Ann",
            "reason": "the switch in rack 4 is replaced",
            "recurrence": weekly | {"timezone": "Europe/Berlin"} if number % 8 == 7 else None,
            "windows": [{"begin": begin, "end": begin + timedelta(hours=2)}],
            "at": now,
        }
    )


def _alert(number: int, host: str, now: datetime) -> AlertView:
    item, labels, value, threshold, family = ITEMS[number % len(ITEMS)]
    state = "firing" if number == 0 else ("firing", "predicted", "resolved")[number % 3]
    return AlertView.model_validate(
        {
            "alert_id": deterministic_id("alert", number),
            "sequence": 1,
            "state": state,
            "severity": ("critical", "warning", "info")[number // 3 % 3],
            "family": family,
            "host": host,
            "item": item,
            "labels": labels,
            "series": f"{host} {item} {labels} {number}".strip(),
            "value": value,
            "threshold": threshold,
            "crossing_ms": None,
            "sentence": f"It is {value} and grew by {number * 7919 % 100 / 10} in the last hour.",
            "handling": ("mail", "approve")[number % 2],
            "acknowledged_by": "Ann" if number % 4 == 1 else "",
            "outcome": "back to normal by itself" if state == "resolved" else "",
            "first_at": now - timedelta(minutes=number % 5_000),
            "at": now,
        }
    )


def _prediction(alert: AlertView, number: int, now: datetime) -> Episode:
    now_ms = round(now.timestamp() * 1000)
    earliest = now_ms + number * 7919 % 86_400 * 1000
    return Episode.model_validate(
        {
            "event_id": deterministic_id("prediction", number),
            "kind": "prediction",
            "series": alert.series,
            "host": alert.host,
            "item": alert.item,
            "labels": alert.labels,
            "received_at": now,
            "revision": 1,
            "opened_ms": now_ms - 10 * _MINUTE_MS,
            "revised_ms": now_ms,
            "value": 71.0,
            "threshold": 80.0,
            "crossing_ms": earliest + 5_000_000,
            "earliest_ms": earliest,
            "latest_ms": earliest + 12_000_000,
            "probability": 0.9,
            "sentence": f"it grows by {number * 7919 % 100 / 10} an hour",
        }
    )


def _curve(episode: Episode, now: datetime) -> Curve:
    now_ms = round(now.timestamp() * 1000)
    times = [now_ms + (n - 240) * 2 * _MINUTE_MS for n in range(240)]
    ahead = [now_ms + n * 6 * _MINUTE_MS for n in range(240)]
    values = [60 + n / 24 + math.sin(n / 5) for n in range(240)]
    return Curve(
        event_id=episode.event_id,
        received_at=now,
        threshold=80.0,
        recent=tuple(zip(times, values, strict=True)),
        band=tuple((at, v, v - 3, v + 3) for at, v in zip(times, values, strict=True)),
        forecast=tuple((at, 71 + n / 24, 70 + n / 40, 72 + n / 16) for n, at in enumerate(ahead)),
    )


def _case(number: int, alert: AlertView, now: datetime) -> Case:
    received = now - timedelta(hours=number * 7 % (KEPT_WEEKS * 160))
    time_ms = round(received.timestamp() * 1000)
    outcome = list(Outcome)[number % len(Outcome)]
    return Case(
        case_id=deterministic_id("case", number),
        outcome=outcome,
        week=week_of(time_ms),
        host=alert.host,
        item=alert.item,
        labels=alert.labels,
        series=alert.series,
        time_ms=time_ms,
        received_at=received,
        text="clean-logs" if outcome in ("saved", "repaired", "failed") else "",
    )


def _action(number: int, alert: AlertView, now: datetime) -> ActionChanged:
    steps = [
        {
            "action": "delete",
            "target": f"/var/log/app/{n}.log.gz",
            "freed_bytes": 155_000_000,
            "command": f"rm /var/log/app/{n}.log.gz",
        }
        for n in range(20)
    ]
    return ActionChanged.model_validate(
        {
            "action_id": deterministic_id("action", number),
            "incident_id": alert.alert_id,
            "sequence": 1,
            "state": "proposed",
            "level": "approve",
            "remediation": "clean-logs",
            "series": {"host": alert.host, "item": alert.item, "labels": {}},
            "target": alert.host,
            "steps": steps,
            "total_steps": 20,
            "expires": now + timedelta(hours=2),
            "by": "",
            "reason": f"{alert.item} is beyond its threshold",
            "at": now,
        }
    )


def _judgement(number: int, alert: AlertView, now: datetime) -> Judgement:
    return Judgement(
        alert_id=alert.alert_id,
        host=alert.host,
        item=alert.item,
        labels=alert.labels,
        value=alert.value or 0.0,
        above=number % 4 != 3,
        by="Ann",
        reason="the nightly backup",
        at=now - timedelta(hours=number),
        anomaly=False,
    )


def _job(number: int, now: datetime) -> JobView:
    submit = JobSubmit(
        job_id=f"digits-{number}",
        name="digits",
        main="train.py",
        package="barograph:packages:x.tar.gz",
    )
    at = now - timedelta(seconds=number)
    state = _STATES[number % len(_STATES)]
    return JobView(
        job_id=submit.job_id,
        name="digits",
        state=state,
        sequence=3,
        created_at=at - timedelta(minutes=20),
        updated_at=at,
        reason="NameError: name 'pritn' is not defined" if state == "failed" else "",
        submit=submit,
    )


def _of_a_job(now: datetime) -> Iterator[Message]:
    """One job with many members, each measured, and many results."""
    told: dict[str, Any] = {"job_id": JOB}
    begun = now - timedelta(hours=3)
    submit = JobSubmit.model_validate(
        {
            "job_id": JOB,
            "name": "digits",
            "main": "train.py",
            "package": "barograph:packages:x.tar.gz",
            "type": "distribute",
            "ps": 1,
            "workers": _WORKERS,
        }
    )
    event = told | {"name": "digits"}
    yield JobAccepted(**event, sequence=1, at=begun, state="accepted", submit=submit)
    workers = [Member(role="worker", index=n, incarnation=1) for n in range(_WORKERS)]
    for n, member in enumerate(workers):
        place = {"host": f"10.0.0.{n}", "port": 2222, "node": f"db-{n}", "pod": f"digits-{n}"}
        yield PodReported(**told, member=member, **place, at=begun + timedelta(seconds=n))
        yield PodStarted(**told, member=member, epoch=1, at=begun + timedelta(seconds=70 + n))
        used = {"cpu_cores": 1.7, "memory_bytes": 800 << 20}
        yield PodMeasured(**told, member=member, **used, at=begun + timedelta(minutes=5))
    running = begun + timedelta(seconds=140)
    yield JobRunning(**event, sequence=2, at=running, state="running", attempt=1)
    for n, member in enumerate(workers):
        yield PodExited(**told, member=member, exit_code=0, at=now - timedelta(seconds=99 - n))
    files = tuple(
        Artifact(
            bucket="barograph",
            key=f"jobs/{JOB}/model/variables-{n:05}.data",
            size=10_485_760,
            sha256=f"{n:064x}",
        )
        for n in range(_RESULTS)
    )
    yield JobSucceeded(**event, sequence=3, at=now, state="succeeded", artifacts=files)


def _usage(number: int, now: datetime) -> UsageCurve:
    begun = round(now.timestamp()) - 240 * 40
    points = tuple(
        UsagePoint(begun + n * 40, 4, 1.5 + math.sin(n / 9 + number), (600 + n + number) << 20)
        for n in range(240)
    )
    return UsageCurve(job_id=JOB, member=f"worker-{number}", every_s=40, points=points)
