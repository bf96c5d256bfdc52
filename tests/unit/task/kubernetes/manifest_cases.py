"""Jobs whose objects are compared whole; run this to write them anew: look at what changed.

python -m tests.unit.task.kubernetes.manifest_cases
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from services.task.runtimes.kubernetes import manifests, names
from services.task.runtimes.kubernetes.template import Template
from shared.cluster import Object
from shared.contracts import JobSubmit
from tests.unit.task.kubernetes.objects import TEMPLATE, cluster, submit

GOLDEN = Path(__file__).with_name("golden")
_TAINTED = replace(
    TEMPLATE,
    node_selector={"pool": "jobs"},
    tolerations=[{"key": "jobs", "operator": "Exists"}],
    priority_class="low",
    trust="barograph-trust",
)
_GPU = {"cpu": 2, "memory": "8Gi", "gpu": 2}
CASES: dict[str, tuple[Template, JobSubmit]] = {
    "single": (TEMPLATE, submit()),
    "distribute": (
        TEMPLATE,
        cluster(role_resources={"ps": {"cpu": 0.5, "memory": "512Mi"}}, max_retries=1),
    ),
    "gpu": (TEMPLATE, submit(image="own/tf:gpu", resources={**_GPU, "gpu_model": "A100"})),
    "mig": (TEMPLATE, submit(resources={**_GPU, "gpu_resource": "nvidia.com/mig-1g.5gb"})),
    "claims": (TEMPLATE, submit(resources={**_GPU, "device_class": "gpu.nvidia.com"})),
    "queue": (TEMPLATE, cluster(queue="team", priority_class="high")),
    "spread": (_TAINTED, cluster(chief=False, placement="spread")),
    "together": (TEMPLATE, cluster(chief=False, ps=0, placement="together")),
    "volumes": (
        TEMPLATE,
        cluster(
            chief=False,
            volumes=[
                {"path": "/mnt/data", "claim": "datasets", "read_only": True, "sub_path": "mnist"},
                {"path": "/mnt/out", "claim": "results", "roles": ["worker"]},
                {"path": "/etc/train", "config_map": "train"},
                {"path": "/etc/keys", "secret": "keys", "read_only": True},
                {"path": "/dev/shm", "empty": {"size": "2Gi", "memory": True}},
            ],
            env_from=[{"secret": "keys", "prefix": "KEY_"}, {"config_map": "train"}],
            image_pull_secrets=["registry"],
        ),
    ),
    "scheduling": (
        _TAINTED,
        cluster(
            chief=False,
            scheduling={
                "node_selector": {"zone": "a"},
                "preferred_nodes": [
                    {"weight": 5, "expressions": [{"key": "disk", "operator": "Exists"}]}
                ],
                "topology_spread": [{"topology_key": "topology.kubernetes.io/zone"}],
            },
            role_scheduling={
                "worker": {
                    "node_terms": [{"expressions": [{"key": "gpu", "values": ["a100", "h100"]}]}],
                    "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
                    "runtime_class": "nvidia",
                    "topology_spread": [
                        {
                            "topology_key": "rack",
                            "when_unsatisfiable": "DoNotSchedule",
                            "min_domains": 2,
                        }
                    ],
                }
            },
        ),
    ),
    "containers": (
        TEMPLATE,
        cluster(
            chief=False,
            resources={"storage": "20Gi", "shared_memory": "1Gi"},
            service_account={"name": "trainer", "token": True},
            volumes=[
                {"name": "code", "path": "/code", "empty": {}, "read_only": True},
                {"name": "code", "path": "/lib", "empty": {}, "sub_path": "lib"},
                {"name": "logs", "empty": {"size": "2Gi"}, "roles": ["worker"]},
                {
                    "path": "/ca",
                    "config_map": "ca",
                    "items": {"ca.crt": "ca.pem"},
                    "optional": True,
                },
            ],
            containers=[
                {
                    "name": "clone",
                    "kind": "init",
                    "image": "tensorflow/git:1",
                    "command": ["git", "clone", "$(REPOSITORY)", "/code"],
                    "env": {"REPOSITORY": "https://git.example/digits"},
                    "env_value_from": [{"name": "PASSWORD", "secret": "git", "key": "password"}],
                    "mounts": [{"volume": "code", "path": "/code"}],
                },
                {
                    "name": "ship",
                    "kind": "sidecar",
                    "env_from": [{"config_map": "ship", "optional": True}],
                    "mounts": [{"volume": "logs", "path": "/logs", "read_only": True}],
                    "roles": ["worker"],
                },
            ],
            env_value_from=[
                {"name": "NODE", "field": "spec.nodeName"},
                {"name": "CORES", "resource": "limits.cpu"},
                {"name": "TYPE", "label": "training.kubeflow.org/replica-type"},
                {"name": "KEY", "config_map": "keys", "key": "key", "roles": ["worker"]},
            ],
        ),
    ),
    "elastic": (TEMPLATE, cluster(elastic=True)),
    "host_network": (TEMPLATE, cluster(chief=False, ps=0, host_network=True)),
}


def objects(name: str) -> list[Object]:
    """Every object of a case, in the order they are made."""
    template, job = CASES[name]
    made = [manifests.secret(template, job, "{}")]
    service = manifests.service(template, job, owner_uid="uid")
    made += [service] if service else []
    queued = bool(template.queue_of(job))
    for group, size in names.groups(job, queued=queued).items():
        claims = manifests.claim_template(template, job, group, owner_uid="uid")
        made += [claims] if claims else []
        made.append(manifests.job(template, job, group, size, base=2, owner_uid="uid"))
    return made


if __name__ == "__main__":
    for each in CASES:
        text = json.dumps(objects(each), indent=1, sort_keys=True)
        (GOLDEN / f"{each}.json").write_text(text + "\n")
