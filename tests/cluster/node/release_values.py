"""Values of the chart for releases on the test's own node, and on a cluster that somebody named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.images import OURS, REGISTRY, SERVICES, TAG, Images, image
from tests.cluster.node.release import PROJECT, PROJECT_JOBS

EXTERNAL_VALUES = "BAROGRAPH_TEST_VALUES"
ALLOWED = {"allowedClaims": ["datasets"], "allowedSecrets": ["keys"]}
"""The objects of the jobs' namespace that jobs may name."""
_SERVERS = {"rabbitmq": 999, "postgresql": 999, "seaweedfs": 1000}
_NEVER = {"pullPolicy": "Never"}
# Three of each service, as the upgrade has them, would leave a node of two cores no room for jobs.
_SMALL = {"resources": {"requests": {"cpu": "10m"}}}


def quickstart(*, images_are_ours: bool) -> dict[str, Any]:
    """The chart with servers of its own, a project and TFJobs."""
    projects = {PROJECT: {"namespace": PROJECT_JOBS, "createNamespace": True}}
    values: dict[str, Any] = {
        "quickstart": {"enabled": True},
        "tfjob": {"enabled": True},
        "jobs": ALLOWED | {"projects": projects},
    }
    if images_are_ours:
        values["tfjob"]["installCRD"] = True
        values |= dict.fromkeys((*SERVICES, "gateway"), _SMALL)
        values["image"] = {"registry": REGISTRY, "tag": TAG} | _NEVER
        values["jobs"] |= {"programImage": image("program"), "imagePullPolicy": "Never"}
        for name, user in _SERVERS.items():
            values["quickstart"][name] = {"image": image("servers"), "user": user}
    elif os.environ.get(EXTERNAL_VALUES):
        values |= yaml.safe_load(Path(os.environ[EXTERNAL_VALUES]).read_text())
    return values


def digests_of(images: Images) -> dict[str, str]:
    """Each image's full name, and the digest of its manifest."""
    found = json.loads(images.index.read_text())["manifests"]
    name = "org.opencontainers.image.ref.name"
    return {each["annotations"][name]: each["digest"] for each in found}


def by_digest(images: Images) -> dict[str, Any]:
    """The images of this state of the sources, each by its digest alone."""
    digests = digests_of(images)
    program = f"{REGISTRY}/program@{digests[image('program')]}"
    names = {name: digests[image(f"barograph-{name}")] for name in OURS}
    return {
        # No image has this tag: whatever is not given by its digest is not found.
        "image": {"registry": REGISTRY, "tag": "none", "digests": names} | _NEVER,
        "jobs": {"programImage": program, "imagePullPolicy": "Never"},
    }
