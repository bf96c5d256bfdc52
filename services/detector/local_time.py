"""Local time of day and week, with daylight saving as the zone's rules have it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

_HOUR_MS = 3_600_000


@lru_cache(maxsize=100_000)
def _offset_ms(zone: str, hour: int) -> int:
    moment = datetime.fromtimestamp(hour * 3600, tz=UTC).astimezone(ZoneInfo(zone))
    offset = moment.utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)


def local_ms(time_ms: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """What a clock in ``zone`` shows at ``time_ms`` (n,), as milliseconds since 1970.

    Offsets change at whole hours of UTC in every zone that has daylight saving.
    """
    if zone == "UTC" or not len(time_ms):
        return time_ms
    hours, place = np.unique(time_ms // _HOUR_MS, return_inverse=True)
    offsets = np.array([_offset_ms(zone, int(hour)) for hour in hours], dtype=np.int64)
    return time_ms + offsets[place]
