"""What a test on the node's own network reads of a release: addresses, secrets, metrics."""

from __future__ import annotations

import base64
import contextlib
import re
import urllib.request

from tests.cluster.node.release import NAME, Release


def address_of(release: Release, component: str) -> str:
    """The address of a component's Service."""
    found = release.kube.core.read_namespaced_service(f"{NAME}-{component}", release.namespace)
    return str(found.spec.cluster_ip)


def secret_of(release: Release, name: str, key: str) -> str:
    """A value of one of its Secrets."""
    found = release.kube.core.read_namespaced_secret(f"{NAME}-{name}", release.namespace)
    return base64.b64decode(found.data[key]).decode()


def values_of(release: Release, component: str, metric: str) -> list[dict[str, float]]:
    """A metric's values by its labels, for each of the component's pods that answers."""
    sample = re.compile(rf"^{metric}(\{{.*\}})? (\S+)$", re.MULTILINE)
    found = []
    for pod in release.pods_of_component(component):
        with contextlib.suppress(OSError):
            url = f"http://{pod.status.pod_ip}:8080/metrics"
            with urllib.request.urlopen(url, timeout=5) as page:
                lines = sample.findall(page.read().decode())
            found.append({labels: float(value) for labels, value in lines})
    return found
