"""Builds the Kubernetes runtime from the settings."""

from __future__ import annotations

from collections.abc import Callable

from services.task.runtimes.kubernetes.allowed import Allowed
from services.task.runtimes.kubernetes.capabilities import detect
from services.task.runtimes.kubernetes.planner import KubernetesPlanner
from services.task.runtimes.kubernetes.runtime import KubernetesRuntime
from services.task.runtimes.kubernetes.template import Template
from services.task.runtimes.kubernetes.view import View
from services.task.settings import TaskSettings
from services.task.spec import PodSpec, checkpoint_key
from services.task.validation import Quotas
from shared.cluster import Cluster
from shared.contracts import JobSubmit
from shared.packages.places import is_package, key_of
from shared.storage import ObjectStore, PresignedAccess

_ACCESS_S = 48 * 3600
_ANY_GPUS = 1_000_000
_MAX_BYTES = 5 * 2**30
"""S3's limit of what is put at once."""


def specs(settings: TaskSettings, store: ObjectStore) -> Callable[[JobSubmit], str]:
    """The text of a job's Secret: it may write below its own prefix, and read its package."""

    def spec(submit: JobSubmit) -> str:
        own = settings.s3_bucket
        reads = [checkpoint_key(submit.job_id)]
        # Validation refuses others; should one come here, its launcher is refused the object.
        if is_package(submit.package, own, submit.project):
            reads.append(key_of(submit.package))
        access = PresignedAccess(
            writes=store.presign_prefix(own, f"jobs/{submit.job_id}/", _ACCESS_S, _MAX_BYTES),
            reads={f"{own}/{key}": store.presign_get(own, key, _ACCESS_S) for key in reads},
        )
        contents = PodSpec(
            job=submit,
            program_grace_s=settings.program_grace_s,
            broker_url=settings.member_broker_url_of(submit.job_id, _ACCESS_S),
            bucket=own,
            access=access,
        )
        return contents.model_dump_json()

    return spec


def build(
    settings: TaskSettings, store: ObjectStore, may_act: Callable[[], None]
) -> tuple[KubernetesRuntime, KubernetesPlanner, View]:
    """A runtime, its planner, and their view of the cluster, which is not yet started.

    Raises:
        ClusterError: when the API server cannot be reached, or is too old.
    """
    cluster = Cluster(settings.kubeconfig, may_act)
    capabilities = detect(cluster)
    template = Template.of(settings)
    view = View(cluster, template.namespaces, settings.owner, capabilities)
    runtime = KubernetesRuntime(cluster, template, view, specs(settings, store), settings.gang_s)
    # GPUs are the nodes' to count.
    quotas = Quotas(
        settings.cpu, settings.memory, _ANY_GPUS, settings.max_members, settings.s3_bucket
    )
    allowed = Allowed.of(settings)
    return runtime, KubernetesPlanner(cluster, template, view, quotas, allowed), view
