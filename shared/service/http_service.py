"""A service that also answers HTTP requests."""

from __future__ import annotations

from shared.service.http import HttpServer
from shared.service.service import Service


class HttpService(Service):
    """A service with an HTTP server, whose routes may publish and ask over the bus.

    So it takes requests only as long as the bus is there: at a stop it takes no more of them, those
    in work end or are cut off after the server's grace, and only then does the bus stop.
    """

    _http: HttpServer | None = None

    def serve(self, http: HttpServer) -> None:
        """Start and stop ``http`` with this service; before ``start``."""
        self._http = http
        self.liveness.others["http"] = http.wrong

    def start(self) -> None:
        """Consume, then answer."""
        super().start()
        if self._http is not None:
            self._http.start()

    def stop(self) -> None:
        """Finish the requests in progress, then stop the service."""
        if self._http is not None:
            self._http.stop()
        super().stop()
