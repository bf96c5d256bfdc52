"""``barograph backfill``: give the detector a past, from a Prometheus that has one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import httpx

_A_REQUEST = 10_000
"""Samples sent at once."""
_MAX_POINTS = 10_000
"""Points of a series in one answer; Prometheus refuses queries for more than 11,000."""
_AGAIN = (429, 503)
_TRIES = 8


class BackfillError(Exception):
    """The history cannot be sent on; the text says why. Samples sent before stay."""


@dataclass
class Sent:
    """The counts of a history that was sent to the gateway."""

    series: int = 0
    samples: int = 0
    left_out: int = 0
    """The samples left out because they are not finite."""
    refused: str = ""
    """The faults that the gateway named last."""


def backfill(
    queries: Annotated[
        list[str], typer.Argument(help="Selectors of the series to send, such as '{job=\"node\"}'.")
    ],
    *,
    prometheus: Annotated[str, typer.Option(help="The address of Prometheus' HTTP API.")],
    gateway: Annotated[str, typer.Option(help="The address of the metrics gateway.")],
    token: Annotated[
        str,
        typer.Option(
            envvar="BAROGRAPH_GATEWAY_TOKEN", help="The gateway's bearer token, if it requires one."
        ),
    ] = "",
    days: Annotated[
        float,
        typer.Option(help="The number of past days whose history is sent.", min=0.001, max=366),
    ] = 14,
    step: Annotated[float, typer.Option(help="The scrape interval in seconds.", min=1)] = 60,
    hours: Annotated[
        float,
        typer.Option(help="The hours of history that one request asks for.", min=0.01, max=744),
    ] = 6,
) -> None:
    """Send a Prometheus server's history through the gateway before live samples arrive.

    Old samples are learned but not judged, so that a series is judged by its own history from its
    first live sample on. A sample that is not newer than its series' last one is dropped: backfill
    first, then let Prometheus write.
    """
    import httpx

    end = time.time()
    begin = end - days * 86_400
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(timeout=120) as source, httpx.Client(headers=headers, timeout=60) as door:
            sent = _run(
                _answers(source, prometheus.rstrip("/"), queries, (begin, end, step), hours),
                door,
                f"{gateway.rstrip('/')}/api/v1/write",
            )
    except (BackfillError, httpx.HTTPError, httpx.InvalidURL) as error:
        typer.echo(f"backfill stopped: {_place(error)}{error}", err=True)
        raise typer.Exit(2) from None
    _report(sent)


def _report(sent: Sent) -> None:
    """Print the counts; exit with status 1 if the gateway refused samples."""
    typer.echo(f"{sent.samples:,} samples of {sent.series:,} series sent")
    if sent.left_out:
        typer.echo(f"left out, not finite: {sent.left_out:,}")
    if sent.refused:
        typer.echo(f"the gateway refused some: {sent.refused}", err=True)
        raise typer.Exit(1)


Found = dict[tuple[tuple[str, str], ...], list[tuple[int, float]]]


def _place(error: Exception) -> str:
    """The server that was asked when it failed: two are, and an exception names neither."""
    import httpx

    if not isinstance(error, httpx.TransportError):
        return ""
    return f"{error.request.url.scheme}://{error.request.url.netloc.decode()}: "


def _answers(
    source: httpx.Client,
    address: str,
    queries: list[str],
    span: tuple[float, float, float],
    hours: float,
) -> Iterator[Found]:
    """All series of all queries, one stretch of time after the other."""
    begin, end, step = span
    # Whole steps, and no moment twice: both ends of a range query are part of it.
    steps = max(1, min(_MAX_POINTS, int(hours * 3600 / step)))
    at = begin
    while at <= end:
        until = min(at + (steps - 1) * step, end)
        found: Found = {}
        for query in queries:
            fields = {"query": query, "start": at, "end": until, "step": step}
            for series in _range(source, address, fields):
                found[tuple(sorted(series["metric"].items()))] = [
                    (round(float(moment) * 1000), float(value))
                    for moment, value in series["values"]
                ]
        yield found
        at += steps * step


def _range(source: httpx.Client, address: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
    answer = source.post(f"{address}/api/v1/query_range", data=fields)
    try:
        body = answer.json()
    except ValueError:
        raise BackfillError(f"{address} answered {answer.status_code}, not as Prometheus") from None
    if body.get("status") != "success":
        raise BackfillError(f"{address} refused {fields['query']!r}: {body.get('error', body)}")
    if body["data"]["resultType"] != "matrix":
        raise BackfillError(f"{fields['query']!r} gives no series")
    result: list[dict[str, Any]] = body["data"]["result"]
    if any("__name__" not in series["metric"] for series in result):
        raise BackfillError(f"{fields['query']!r} gives series without a name: ask by a selector")
    return result


def _run(answers: Iterator[Found], door: httpx.Client, address: str) -> Sent:
    sent, names = Sent(), set()
    for found in answers:
        finite: Found = {
            labels: [one for one in samples if math.isfinite(one[1])]
            for labels, samples in found.items()
        }
        sent.left_out += sum(map(len, found.values())) - sum(map(len, finite.values()))
        names |= {labels for labels, samples in finite.items() if samples}
        for part in _slices(finite):
            _send(door, address, part, sent)
            sent.samples += sum(map(len, part.values()))
    sent.series = len(names)
    return sent


def _slices(found: Found) -> Iterator[Found]:
    """All series' samples of short stretches, so that none runs ahead of the others."""
    moments = sorted({moment for samples in found.values() for moment, _ in samples})
    width = max(1, _A_REQUEST // max(1, len(found)))
    for at in range(0, len(moments), width):
        first, last = moments[at], moments[min(at + width, len(moments)) - 1]
        part: Found = {}
        size = 0
        for labels, samples in found.items():
            inside = [one for one in samples if first <= one[0] <= last]
            if inside:
                part[labels] = inside
                size += len(inside)
            if size >= _A_REQUEST:
                yield part
                part, size = {}, 0
        if part:
            yield part


def _send(door: httpx.Client, address: str, part: Found, sent: Sent) -> None:
    from replay.remote_write import HEADERS, request

    body = request((dict(labels), samples) for labels, samples in part.items())
    for attempt in range(_TRIES):
        answer = door.post(address, content=body, headers=HEADERS)
        if answer.status_code not in _AGAIN:
            break
        time.sleep(float(answer.headers.get("Retry-After", min(2**attempt, 30))))
    if answer.status_code == HTTPStatus.BAD_REQUEST:  # some of the samples are refused
        sent.refused = answer.text.strip()
    elif not answer.is_success:
        raise BackfillError(f"{address} answered {answer.status_code}: {answer.text.strip()[:500]}")
