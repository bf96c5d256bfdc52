"""Modifying requests to the API server, in threads: one per object at a time, with retries."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

import structlog

from shared.cluster import ClusterError
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)


class Lane(Enum):
    """The purpose of a request; the value limits concurrent requests of this kind.

    Each has threads of its own: neither hundreds of ends nor what is only tidied up stand before
    a launch, and nothing stands before an end.
    """

    LAUNCH = "launch", 8
    END = "end", 8
    TIDY = "tidy", 4

    @property
    def threads(self) -> int:
        return self.value[1]


class Acts:
    """Sends requests to the API server while reconciler passes continue."""

    def __init__(self) -> None:
        self._under_way: set[str] = set()
        self._lanes = {
            lane: ThreadPoolExecutor(lane.threads, thread_name_prefix=f"kubernetes-{lane.value[0]}")
            for lane in Lane
        }

    def do(self, lane: Lane, what: str, act: Callable[[], None]) -> None:
        """Run ``act`` unless it is running already; a failure is logged and tried again later.

        Args:
            lane: whose threads.
            what: names the act, the same for the same.
            act: what to do; it finds out by itself what has been done already.
        """
        if what in self._under_way:
            return
        self._under_way.add(what)

        def run() -> None:
            try:
                act()
            except Unavailable as error:
                log.warning("cluster_postponed", what=what, error=str(error))
            except ClusterError as error:
                log.warning("cluster_refused", what=what, error=str(error))
            except Exception:
                # Nobody looks at what becomes of a pool's work.
                log.exception("cluster_act_failed", what=what)
            finally:
                self._under_way.discard(what)

        self._lanes[lane].submit(run)

    def under_way(self, what: str) -> bool:
        """Return whether it waits for a thread or runs."""
        return what in self._under_way

    def close(self) -> None:
        """Take nothing more; what was begun is finished."""
        for pool in self._lanes.values():
            pool.shutdown()
