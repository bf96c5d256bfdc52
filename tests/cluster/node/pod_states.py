"""The state of pods, in words for whoever reads why a test failed."""

from __future__ import annotations

from typing import Any

from tests.cluster.kube import Kube


def state_of_pods(kube: Kube, *namespaces: str) -> str:
    """Return the state of each pod, the last lines of unready ones, and the last events."""
    text = ""
    for namespace in namespaces:
        for pod in kube.core.list_namespaced_pod(namespace).items:
            for status in _containers(pod):
                text += f"{namespace} {pod.metadata.name} {status.name}: "
                text += f"ready={status.ready} {_state(status)}\n"
                if not status.ready:
                    text += _last_lines(kube, namespace, pod.metadata.name, status.name)
    events = kube.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp")
    return f"{text}\n{events[-3000:]}"


def last_words(kube: Kube, namespace: str, pod: str, container: str) -> str:
    """The last lines of the container that was there before the one that runs."""
    return _last_lines(kube, namespace, pod, container, "--previous")


def _last_lines(kube: Kube, namespace: str, pod: str, container: str, *options: str) -> str:
    try:
        return kube.kubectl("logs", pod, "-c", container, "-n", namespace, "--tail=15", *options)
    except AssertionError as error:
        return f"{error}\n"


def _containers(pod: Any) -> list[Any]:
    status = pod.status
    return [*(status.init_container_statuses or []), *(status.container_statuses or [])]


def _state(status: Any) -> str:
    for name in ("waiting", "terminated"):
        state = getattr(status.state, name)
        if state is not None:
            return f"{name}: {state.reason} {state.message or ''}"
    return "running"
