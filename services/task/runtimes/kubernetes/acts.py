"""Requests that change the cluster, in threads: each once at a time, and again if it failed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from shared.cluster import ClusterError, ClusterUnavailable

log = structlog.get_logger(__name__)

_LAUNCHING, _OTHER = 8, 8


class Acts:
    """What is asked of the API server, while the passes go on.

    What makes new jobs has threads of its own: hundreds of deletions, when as many jobs end at
    once, do not stand before a launch.
    """

    def __init__(self) -> None:
        self._under_way: set[str] = set()
        self._launching = ThreadPoolExecutor(_LAUNCHING, thread_name_prefix="kubernetes-launch")
        self._other = ThreadPoolExecutor(_OTHER, thread_name_prefix="kubernetes")

    def do(self, what: str, act: Callable[[], None], *, launching: bool = False) -> None:
        """Run ``act`` unless the same is under way; its failure is logged: the next pass asks anew.

        Args:
            what: names the act, the same for the same.
            act: what to do; it finds out by itself what has been done already.
            launching: whether a new job waits for it.
        """
        if what in self._under_way:
            return
        self._under_way.add(what)

        def run() -> None:
            try:
                act()
            except ClusterUnavailable as error:
                log.warning("cluster_postponed", what=what, error=str(error))
            except ClusterError as error:
                log.warning("cluster_refused", what=what, error=str(error))
            finally:
                self._under_way.discard(what)

        (self._launching if launching else self._other).submit(run)

    def under_way(self, what: str) -> bool:
        """Whether it waits for a thread or runs."""
        return what in self._under_way

    def close(self) -> None:
        """Take nothing more; what was begun is finished."""
        self._launching.shutdown()
        self._other.shutdown()
