"""The installation's additions to every job's objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.task.settings import TaskSettings
from shared.contracts import JobSubmit


@dataclass(frozen=True)
class Template:
    """The installation's additions to every job."""

    namespace: str
    owner: str
    launcher_image: str
    program_image: str
    pull_policy: str = "IfNotPresent"
    priority_class: str = ""
    queue: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, object]] = ()
    grace_s: int = 120
    node_loss_s: int = 30
    uid: int = 10_001
    storage: str = "64Gi"
    trust: str = ""
    """The ConfigMap with the authorities that launchers trust."""
    project_namespaces: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: TaskSettings) -> Template:
        """The template that the settings describe."""
        return cls(
            namespace=settings.namespace,
            owner=settings.owner,
            launcher_image=settings.launcher_image,
            program_image=settings.program_image,
            pull_policy=settings.image_pull_policy,
            priority_class=settings.priority_class,
            queue=settings.queue,
            node_selector=settings.node_selector,
            tolerations=settings.tolerations,
            grace_s=settings.pod_grace_s,
            node_loss_s=settings.node_loss_s,
            uid=settings.program_uid,
            storage=settings.program_storage,
            trust=settings.trust_config_map,
            project_namespaces=settings.project_namespaces,
        )

    @property
    def namespaces(self) -> list[str]:
        """Every namespace in which jobs may run."""
        return list(dict.fromkeys([self.namespace, *self.project_namespaces.values()]))

    def namespace_of(self, submit: JobSubmit) -> str:
        """The namespace of a job: its project's own, if it has one."""
        return self.project_namespaces.get(submit.project, self.namespace)

    def queue_of(self, submit: JobSubmit) -> str:
        """Kueue's LocalQueue for this job, '' for none."""
        return submit.queue or self.queue
