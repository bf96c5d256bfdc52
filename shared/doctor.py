"""``barograph doctor``: whether all of it works, from samples that come in to people notified."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from shared.service.sharing import UNOWNED_LIMIT_S
from shared.visible import visible

_TIMEOUT_S = 30.0
_MAX_SKEW_S, _MAX_LAG_S, _MAX_WAITING = 5.0, 60.0, 1000.0
_CANARY_LATE, _UNNOTIFIED_S = 4.0, 900.0
Samples = Mapping[str, list[tuple[dict[str, str], float]]]
"""A service's measurements: by metric, labels and value."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Healer:
    """Where the healer's API is."""

    url: str
    token: str

    def call(self, method: str, path: str) -> object:
        """Its answer; of a failed test of a channel, too, which says what went wrong."""
        request = urllib.request.Request(  # noqa: S310 - the caller has checked the scheme
            f"{self.url.rstrip('/')}/api/v1/{path}",
            b"" if method == "POST" else None,
            method=method,
        )
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code == 502:  # noqa: PLR2004 - a channel's test was not taken
                return json.loads(error.read())
            raise


def examine(health: Mapping[str, str], healer: Healer, *, test_notice: bool) -> Iterator[Finding]:
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
            measured[name] = _samples(_get(f"{url}/metrics")[0].decode())
        except (OSError, ValueError) as error:
            yield Finding(f"{name}: metrics", ok=False, detail=str(error))
    yield from _of_partitions(measured)
    for name, samples in measured.items():
        yield from _of_messages(name, samples)
    try:
        yield from _of_people(healer, measured, test_notice=test_notice)
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding("healer's API", ok=False, detail=f"{healer.url}: {error}")


def shown(findings: Sequence[Finding], *, as_json: bool) -> str:
    """One line each, what is wrong marked; or for programs."""
    if as_json:
        well = all(finding.ok for finding in findings)
        return json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]})
    width = max((len(finding.check) for finding in findings), default=0)
    return "\n".join(
        f"{'ok   ' if f.ok else 'WRONG'} {visible(f.check):<{width}}  {visible(f.detail)}"
        for f in findings
    )


def _of_probe(name: str, url: str) -> Iterator[Finding]:
    """Broker, store and all else that makes a service unready; its clock."""
    sent = time.time()
    try:
        body, date = _get(f"{url}/readyz")
        wrong = json.loads(body)["wrong"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding(f"{name}: ready", ok=False, detail=f"{url} does not answer: {error}")
        return
    detail = "; ".join(f"{part}: {why}" for part, why in wrong.items())
    yield Finding(f"{name}: ready", not wrong, detail or "broker and store answer")
    skew = _skew_s(date, sent, time.time())
    if skew is not None:
        yield Finding(f"{name}: clock", skew <= _MAX_SKEW_S, f"off by {skew:.0f} s at least")


def _skew_s(date: str, sent: float, came: float) -> float | None:
    """How far the other clock is off, whatever time the answer took; its seconds are whole."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    return max(sent - (theirs + 1), theirs - came, 0.0)


def _of_partitions(measured: Mapping[str, Samples]) -> Iterator[Finding]:
    """Whether somebody works each stream of samples; replicas of a service share them out."""
    for name, samples in measured.items():
        lags = [value for _, value in samples.get("barograph_partition_lag_seconds", ())]
        if not lags:
            continue
        owned = _total(samples, "barograph_partitions_owned")
        replicas = max(1.0, _total(samples, "barograph_replicas_alive"))
        alone = [s for _, s in samples.get("barograph_partition_unowned_seconds", ())]
        nobodys = sum(seconds > UNOWNED_LIMIT_S for seconds in alone)
        detail = (
            f"{owned:.0f} streams owned, shared by {replicas:.0f}; {nobodys} are nobody's; "
            f"newest samples {max(lags):.0f} s old"
        )
        idle = replicas == 1 and not owned
        well = not nobodys and not idle and max(lags) <= _MAX_LAG_S
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
    healer: Healer, measured: Mapping[str, Samples], *, test_notice: bool
) -> Iterator[Finding]:
    reach = healer.call("GET", "reachability")
    assert isinstance(reach, dict)  # noqa: S101 - the healer's own answer
    for problem in reach["problems"]:
        yield Finding("people", ok=False, detail=problem)
    if not reach["problems"]:
        yield Finding("people", ok=True, detail="a critical alert reaches somebody")
    agents = reach["agents"]
    newest = max((agent["at"] for agent in agents), default="")
    # Machines need no agent, and one is asked when its machine has an alarm: that is no fault.
    detail = f"{len(agents)} have answered, the last at {newest}" if agents else "none was heard"
    yield Finding("node agents", ok=True, detail=detail)
    of_healer: Samples = {key: each for s in measured.values() for key, each in s.items()}
    yield from _of_canary(float(reach["canary_every_s"]), of_healer)
    oldest = _total(of_healer, "barograph_oldest_unnotified_critical_seconds")
    detail = f"the oldest critical alert that nobody knows of is {oldest:.0f} s old"
    yield Finding("alerts", oldest <= _UNNOTIFIED_S, detail if oldest else "none waits unknown")
    channels = healer.call("GET", "channels") if test_notice else []
    assert isinstance(channels, list)  # noqa: S101 - as above
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


def _of_channel(healer: Healer, name: str) -> Finding:
    try:
        answer = healer.call("POST", f"channels/{quote(name, safe='')}/test")
        assert isinstance(answer, dict)  # noqa: S101 - the healer's own answer
        failed = "; ".join(f"{recipient}: {why}" for recipient, why in answer["failed"].items())
    except (OSError, ValueError, KeyError) as error:
        failed = str(error)
    return Finding(f"channel {name}", not failed, failed or "took a test notice")


def _get(url: str) -> tuple[bytes, str]:
    """The body and the sender's time; a service that is not ready says why with 503."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - own addresses
            return answer.read(), answer.headers.get("Date", "")
    except urllib.error.HTTPError as error:
        if error.code != 503:  # noqa: PLR2004 - not ready
            raise
        return error.read(), error.headers.get("Date", "")


def _samples(text: str) -> Samples:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def _total(samples: Samples, name: str) -> float:
    return sum(value for _, value in samples.get(name, ()))
