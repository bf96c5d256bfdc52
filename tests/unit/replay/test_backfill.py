"""The requests that a backfill sends."""

from __future__ import annotations

from replay.backfill import _slices
from replay.remote_write import request
from tests.remote_write import compressed, request_1


def test_a_request_is_written_as_other_code_writes_it() -> None:
    series = [
        ({"__name__": "queue", "instance": "m1:9100"}, [(1_700_000_000_000, 1.5), (1, -0.0)]),
        ({"__name__": "load", "route": "/ä"}, [(2, 1e300)]),
    ]
    assert request(series) == compressed(request_1(*series))


def test_slices_hold_every_sample_once_and_no_series_runs_ahead() -> None:
    found = {
        (("__name__", f"s{n}"),): [(at * 60_000, float(at)) for at in range(n % 7, 50)]
        for n in range(3000)
    }
    newest, total = -1, 0
    for part in _slices(found):
        times = [moment for samples in part.values() for moment, _ in samples]
        assert min(times) >= newest - 3 * 60_000
        newest = max(newest, *times)
        total += len(times)
        assert len(times) <= 10_000
    assert total == sum(map(len, found.values()))
