"""Before the chart is deleted: stop the task service, then delete the jobs it has left.

In this order, since a running task service would start again what it misses. Only Jobs with the
labels of this installation are touched, since another may run its jobs in the same namespace. They
are deleted in the foreground: a Job is gone when its pods are. Pods of Jobs that the task service
was deleting itself are waited for, too.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path(os.environ.get("ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
API = os.environ.get("API", "https://kubernetes.default.svc")
PAUSE_S = 1.0
NOT_FOUND, TOO_MANY, FAULTY = 404, 429, 500
DEADLINE = time.monotonic() + float(os.environ.get("WAIT_S", "0"))


def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to the API server; an empty object where there is no such thing (any more).

    It is repeated while the server, or its name, cannot be reached: each of them may be.
    """
    while True:
        try:
            return once(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            reason = f"{method} {path}: {error}"
            if isinstance(error, urllib.error.HTTPError):
                reason += f" {error.read().decode(errors='replace')}"
                if error.code < FAULTY and error.code != TOO_MANY:
                    sys.exit(reason)
            if time.monotonic() > DEADLINE:
                sys.exit(reason)
            print(reason, flush=True)
            time.sleep(PAUSE_S)


def once(method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """``call`` without another attempt."""
    authority = ACCOUNT / "ca.crt"
    context = ssl.create_default_context(cafile=authority) if authority.exists() else None
    request = urllib.request.Request(  # noqa: S310 - the address is the API server's
        API + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
            "Content-Type": "application/merge-patch+json",
        },
    )
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:  # noqa: S310 - as above
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == NOT_FOUND:
            return {}
        raise


def names(path: str) -> list[str]:
    """The items of a list."""
    return [item["metadata"]["name"] for item in call("GET", path).get("items") or []]


def wait_until_empty(path: str, what: str) -> None:
    """Return when the list is empty; end with the names that are left when it is too late."""
    while left := names(path):
        if time.monotonic() > DEADLINE:
            sys.exit(f"{what} still there: {', '.join(left)}")
        time.sleep(PAUSE_S)


def main() -> None:
    """The program."""
    release, jobs, task = (os.environ[name] for name in ("RELEASE_NAMESPACE", "JOBS", "TASK"))
    selector, of_jobs = os.environ["TASK_SELECTOR"], os.environ["JOBS_SELECTOR"]
    deployment = f"/apis/apps/v1/namespaces/{release}/deployments/{task}"
    call("PATCH", f"{deployment}/scale", {"spec": {"replicas": 0}})
    pods = f"/api/v1/namespaces/{release}/pods?labelSelector={selector}"
    wait_until_empty(pods, "pods of the task service")
    namespaces = jobs.split(",")
    mine = [f"/apis/batch/v1/namespaces/{each}/jobs?labelSelector={of_jobs}" for each in namespaces]
    found = [name for path in mine for name in names(path)]
    for path in mine:
        call("DELETE", f"{path}&propagationPolicy=Foreground")
    for path in mine:
        wait_until_empty(path, "jobs")
    for each in namespaces:
        left = f"/api/v1/namespaces/{each}/pods?labelSelector={of_jobs}"
        wait_until_empty(left, "pods of jobs")
    print(f"deleted {len(found)} jobs: {', '.join(found) or 'there were none'}")


if __name__ == "__main__":
    main()
