"""The checks of ``barograph doctor``, from incoming samples to notified people."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import quote

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.client.connection import Connection
from shared.client.errors import ClientError
from shared.service.sharing import UNOWNED_LIMIT_S
from shared.visible import visible

_TIMEOUT_S = 30.0
_MAX_SKEW_S, _MAX_LAG_S, _MAX_WAITING = 5.0, 60.0, 1000.0
_CANARY_LATE, _UNNOTIFIED_S = 4.0, 900.0
Samples = Mapping[str, list[tuple[dict[str, str], float]]]
"""A service's measurements: by metric, labels and value."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    ok: bool
    detail: str


def examine(
    health: Mapping[str, str], healer: Connection, *, test_notice: bool
) -> Iterator[Finding]:
    """Every finding, in the order in which a sample becomes a notice.

    Args:
        health: base URLs of the services' probes, by name.
        healer: its API.
        test_notice: whether each channel sends a test to its recipients.
    """
    measured: dict[str, Samples] = {}
    for name, url in health.items():
        yield from _of_probe(name, url)
        try:
            measured[name] = _samples(_get(f"{url}/metrics").text)
        except (httpx.HTTPError, ValueError) as error:
            yield Finding(f"{name}: metrics", ok=False, detail=str(error))
    yield from _of_partitions(measured)
    for name, samples in measured.items():
        yield from _of_messages(name, samples)
    try:
        yield from _of_people(healer, measured, test_notice=test_notice)
    except (ClientError, ValueError, KeyError, TypeError) as error:
        yield Finding("healer's API", ok=False, detail=f"{error}")


def shown(findings: Sequence[Finding], *, as_json: bool) -> str:
    """Print one line per check with problems marked, or JSON."""
    if as_json:
        well = all(finding.ok for finding in findings)
        return json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]})
    width = max((len(finding.check) for finding in findings), default=0)
    return "\n".join(
        f"{'ok   ' if f.ok else 'WRONG'} {visible(f.check):<{width}}  {visible(f.detail)}"
        for f in findings
    )


def _of_probe(name: str, url: str) -> Iterator[Finding]:
    """The readiness of a service, with what it lacks, and its clock."""
    sent = time.time()
    try:
        answer = _get(f"{url}/readyz")
        wrong = answer.json()["wrong"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        yield Finding(f"{name}: ready", ok=False, detail=f"{url} does not answer: {error}")
        return
    detail = "; ".join(f"{part}: {why}" for part, why in wrong.items())
    yield Finding(f"{name}: ready", not wrong, detail or "broker and store answer")
    skew = _skew_s(answer.headers.get("Date", ""), sent, time.time())
    if skew is not None:
        yield Finding(f"{name}: clock", skew <= _MAX_SKEW_S, _off(skew))


def _off(skew_s: float) -> str:
    """The clock's difference in words: what the answer took may hide a small one."""
    return f"off by at least {skew_s:.0f} s" if skew_s >= 1 else "agrees with this machine's"


def _skew_s(date: str, sent: float, came: float) -> float | None:
    """Return the other clock's deviation, allowing for the answer's delay and whole seconds."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    return max(sent - (theirs + 1), theirs - came, 0.0)


def _of_partitions(measured: Mapping[str, Samples]) -> Iterator[Finding]:
    """Check that every sample stream has an owner; replicas of a service share them out."""
    for name, samples in measured.items():
        lags = [value for _, value in samples.get("barograph_partition_lag_seconds", ())]
        if not lags:
            continue
        owned = _total(samples, "barograph_partitions_owned")
        replicas = max(1.0, _total(samples, "barograph_replicas_alive"))
        alone = [s for _, s in samples.get("barograph_partition_unowned_seconds", ())]
        unowned = sum(seconds > UNOWNED_LIMIT_S for seconds in alone)
        detail = (
            f"{owned:.0f} streams owned, shared by {replicas:.0f}; {unowned} have no owner; "
            f"newest samples {max(lags):.0f} s old"
        )
        idle = replicas == 1 and not owned
        well = not unowned and not idle and max(lags) <= _MAX_LAG_S
        yield Finding(f"{name}: samples", well, detail)


def _of_messages(name: str, samples: Samples) -> Iterator[Finding]:
    """Messages that wait or that nobody could handle, and parts that make no progress."""
    waiting = _total(samples, "barograph_outbox_messages")
    stuck = _total(samples, "barograph_outbox_set_aside_messages")
    detail = f"{waiting:.0f} messages wait, {stuck:.0f} can never be published"
    yield Finding(f"{name}: outbox", waiting <= _MAX_WAITING and not stuck, detail)
    dead = {labels["queue"]: n for labels, n in samples.get("barograph_dead_letters", ()) if n}
    counts = ", ".join(f"{count:.0f} of {queue}" for queue, count in sorted(dead.items()))
    yield Finding(f"{name}: dead letters", not dead, counts or "none")
    for labels, stands in samples.get("barograph_no_progress", ()):
        if stands:
            yield Finding(f"{name}: progress", ok=False, detail=f"none of {labels['part']}")


def _of_people(
    healer: Connection, measured: Mapping[str, Samples], *, test_notice: bool
) -> Iterator[Finding]:
    reach = healer.call("GET", "/reachability")
    for problem in reach["problems"]:
        yield Finding("people", ok=False, detail=problem)
    if not reach["problems"]:
        yield Finding("people", ok=True, detail="a critical alert reaches somebody")
    agents = reach["agents"]
    newest = max((agent["at"] for agent in agents), default="")
    # Machines need no agent, and one is asked when its machine has an alarm: that is no fault.
    answered = f"{len(agents)} have answered for evidence, the last at {newest}"
    detail = answered if agents else "none has been asked for evidence yet, or none has answered"
    yield Finding("node agents", ok=True, detail=detail)
    of_healer: Samples = {key: each for s in measured.values() for key, each in s.items()}
    yield from _of_canary(float(reach["canary_every_s"]), of_healer)
    oldest = _total(of_healer, "barograph_oldest_unnotified_critical_seconds")
    detail = f"the oldest critical alert of which nobody was notified is {oldest:.0f} s old"
    yield Finding("alerts", oldest <= _UNNOTIFIED_S, detail if oldest else "none is waiting")
    channels = healer.call("GET", "/channels") if test_notice else []
    for channel in channels:
        yield _of_channel(healer, channel["name"])


def _of_canary(every_s: float, samples: Samples) -> Iterator[Finding]:
    if not every_s:
        yield Finding("canary", ok=True, detail="switched off (canary_every_s)")
        return
    at = _total(samples, "barograph_canary_last_success_timestamp_seconds")
    age = time.time() - at
    detail = f"last complete round {age:.0f} s ago" if at else "no round was complete yet"
    yield Finding("canary", bool(at) and age <= _CANARY_LATE * every_s, detail)


def _of_channel(healer: Connection, name: str) -> Finding:
    try:
        path = f"/channels/{quote(name, safe='')}/test"
        # A channel that did not take the test is answered by 502, and with what went wrong.
        answer = healer.call("POST", path, accepted=(HTTPStatus.BAD_GATEWAY,))
        failed = "; ".join(f"{recipient}: {why}" for recipient, why in answer["failed"].items())
    except (ClientError, ValueError, KeyError, TypeError) as error:
        failed = str(error)
    return Finding(f"channel {name}", not failed, failed or "took a test notice")


def _get(url: str) -> httpx.Response:
    """A probe's answer; a service that is not ready says why with 503."""
    answer = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False)
    if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
        answer.raise_for_status()
    return answer


def _samples(text: str) -> Samples:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def _total(samples: Samples, name: str) -> float:
    return sum(value for _, value in samples.get(name, ()))
