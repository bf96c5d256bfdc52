"""Requests to an API server: the kubernetes library's configuration, plain JSON objects.

The library's typed models cost more time per pod than the request itself, and know one version of
the API. Manifests are written, and answers read, as the API documents them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import orjson

from shared.cluster.errors import ClusterError, ClusterUnavailable, Invalid, error_of
from shared.cluster.nesting import parsed

if TYPE_CHECKING:
    import urllib3

Object = dict[str, Any]
"""A Kubernetes object as JSON."""
# urllib3 comes with the kubernetes library, which images without a cluster's business lack: it is
# imported where it is used.

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

_CONNECTIONS = 32
"""Kept open. Threads and watches beyond them would make a new one for each request."""
_TIMEOUT_S = 30.0
_FIRST_FAILURE = 300
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")
"""Names of kinds and objects: DNS names, and the colons of RBAC's own objects."""


def path_of(version: str, kind: str, namespace: str = "", name: str = "") -> str:
    """The path of objects in the API.

    Args:
        version: as in ``apiVersion``, e.g. ``batch/v1``.
        kind: the resource in the plural, e.g. ``jobs``.
        namespace: '' for all of them, or for what has none.
        name: of one object, '' for the collection.
    """
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{place}/{kind}" + (f"/{name}" if name else "")


class Cluster:
    """An API server, as the pod's own service account or a kubeconfig file sees it.

    Safe to use from several threads.

    Args:
        kubeconfig: a file; without one, the surroundings of a pod.
        may_act: called before each request that changes something; what it raises is raised.

    Raises:
        ClusterError: when neither is there.
    """

    def __init__(
        self, kubeconfig: Path | None = None, may_act: Callable[[], None] = lambda: None
    ) -> None:
        self._may_act = may_act
        # Over half a second, which only those pay who have a cluster.
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            if kubeconfig is not None:
                config.load_kube_config(str(kubeconfig), client_configuration=configuration)
            else:
                config.load_incluster_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise ClusterError(f"no way to the API server: {error}") from error
        configuration.connection_pool_maxsize = _CONNECTIONS
        self._configuration = configuration
        self._http: urllib3.PoolManager = client.rest.RESTClientObject(configuration).pool_manager

    @property
    def url(self) -> str:
        return str(self._configuration.host)

    def get(self, path: str, **query: str) -> Object:
        """One object, or one page of a list."""
        return self.call("GET", path, query=query)

    def list(self, path: str, **query: str) -> Iterator[Object]:
        """Every item of a list, page by page."""
        query = {"limit": "500", **query}
        while True:
            page = self.get(path, **query)
            yield from page.get("items") or []
            more = page["metadata"].get("continue")
            if not more:
                return
            query["continue"] = more

    def create(
        self, path: str, body: Object, *, timeout_s: float = _TIMEOUT_S, **query: str
    ) -> Object:
        return self.call("POST", path, body=body, query=query, timeout_s=timeout_s)

    def patch(self, path: str, body: Any, *, kind: str = MERGE_PATCH, **query: str) -> Object:
        return self.call("PATCH", path, body=body, content_type=kind, query=query)

    def delete(self, path: str, *, propagation: str = "Background", **options: Any) -> Object:
        """Delete one object; NotFound when there is none."""
        body = {"propagationPolicy": propagation, **options}
        return self.call("DELETE", path, body=body)

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Object:
        """One request and its answer.

        Raises:
            ClusterError: the subclass says which kind.
        """
        import urllib3

        what = f"{method} {path}"
        _check_path(what, path)
        if method != "GET":
            self._may_act()
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            answer = self._http.request(
                method,
                self.url + path + (f"?{urlencode(query)}" if query else ""),
                headers=headers,
                body=None if body is None else orjson.dumps(body),
                timeout=timeout_s,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ClusterUnavailable(f"{what}: {error}") from error
        return _checked(what, answer.status, answer.data)

    def watch(self, path: str, silence_s: float, **query: str) -> Watch:
        """The events of a list from a version on; errors as of ``call``.

        ``silence_s`` is how long the server may say nothing, bookmarks included.
        """
        import urllib3

        what = f"WATCH {path}"
        _check_path(what, path)
        try:
            answer = self._http.request(
                "GET",
                f"{self.url}{path}?{urlencode({'watch': 'true', **query})}",
                headers=self._headers(),
                timeout=urllib3.Timeout(connect=_TIMEOUT_S, read=silence_s),
                retries=False,
                preload_content=False,
            )
            if answer.status >= _FIRST_FAILURE:
                _checked(what, answer.status, answer.read())
        except urllib3.exceptions.HTTPError as error:
            raise ClusterUnavailable(f"{what}: {error}") from error
        return Watch(what, cast("urllib3.HTTPResponse", answer))

    def close(self) -> None:
        """Close every connection."""
        self._http.clear()

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "barograph"}
        # Asked each time: a service account's token is renewed under way.
        token = self._configuration.get_api_key_with_prefix("BearerToken", "authorization")
        if token:
            headers["Authorization"] = token
        return headers


def _check_path(what: str, path: str) -> None:
    """A path's segments are names: none may lead to another object than the one that is meant."""
    segments = path.removeprefix("/").split("/")
    if not path.startswith("/") or not all(map(_SEGMENT.fullmatch, segments)):
        raise Invalid(f"{what[:200]!r} does not name an object of the API")


def _checked(what: str, status: int, data: bytes) -> Object:
    try:
        found = parsed(data) if data else {}
    except orjson.JSONDecodeError:
        found = data.decode(errors="replace")
    if not isinstance(found, dict):
        if status < _FIRST_FAILURE:
            raise ClusterUnavailable(f"{what}: no answer of an API server: {str(found)[:100]}")
        found = {"message": str(found)[:500]}
    answer: Object = found
    if status >= _FIRST_FAILURE:
        raise error_of(what, status, answer)
    return answer


class Watch:
    """One watch request. Iterate in one thread; ``cancel`` from any ends that."""

    def __init__(self, what: str, answer: urllib3.HTTPResponse) -> None:
        self._what, self._answer = what, answer

    def __iter__(self) -> Iterator[Object]:
        import urllib3

        rest = b""
        try:
            for block in self._answer.stream(amt=None):
                *whole, rest = (rest + block).split(b"\n")
                for line in filter(None, whole):
                    event: Object = parsed(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise error_of(self._what, int(status.get("code", 500)), status)
                    yield event
        except urllib3.exceptions.HTTPError as error:
            raise ClusterUnavailable(f"{self._what}: {error}") from error
        except orjson.JSONDecodeError as error:
            # A connection that broke off leaves half a line; its reader continues with another.
            raise ClusterUnavailable(f"{self._what}: not an event: {error}") from error

    def cancel(self) -> None:
        """Wake who waits for the next event: there is none."""
        try:
            self._answer.shutdown()
        except (OSError, RuntimeError, ValueError):
            return  # it has ended by itself

    def close(self) -> None:
        self._answer.close()
