"""Settings of the task service."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Literal, Self

import psutil
from pydantic import Field, SecretStr, field_validator, model_validator

from shared.contracts import KubernetesName, ProjectName, job_word
from shared.messaging.tokens import check_signing_key, url_with_token
from shared.settings import ServiceSettings, check_replicas
from shared.topology import Principal

_CPU_OVERCOMMIT = 4


class TaskSettings(ServiceSettings):
    """The settings of the task service."""

    replicas: int = Field(
        default=1,
        ge=1,
        description="The number of replicas of this service. One of them leads, the others stand "
        "by; more than one requires PostgreSQL.",
    )
    member_broker_url: SecretStr = Field(
        default=SecretStr("amqp://guest:guest@127.0.0.1:5672/%2F"),
        description="AMQP URL of the broker user `member`, passed to launchers on their stdin.",
    )
    member_signing_key: SecretStr = Field(
        default=SecretStr(""),
        description="A P-256 private key (PEM). With it, launchers receive a token for their own "
        "job's messages instead of that URL's user and password; the broker must know the "
        "public key. Without it, all jobs share that user.",
    )
    member_host: str = Field(
        default="127.0.0.1",
        description="The address at which members of a job on this machine reach each other.",
    )
    capacity_cpu: float = Field(
        default=0,
        ge=0,
        description="The CPU cores that all jobs together may request; 0: four times this "
        "machine's, or what the cluster has.",
    )
    capacity_memory: int = Field(
        default=0,
        ge=0,
        description="The bytes of memory that all jobs together may request; 0: 80 % of this "
        "machine's, or what the cluster has.",
    )
    max_active: int = Field(
        default=1000,
        ge=1,
        description="The number of jobs that are active at once; further ones wait.",
    )
    max_members: int = Field(
        default=64, ge=1, description="The number of members that one job may have."
    )
    program_grace_s: float = Field(
        default=20.0,
        ge=0,
        description="Seconds between SIGTERM and SIGKILL, in which a program can save its work.",
    )
    stop_grace_s: float = Field(
        default=90.0,
        gt=0,
        description="Seconds that a launcher may take to end its program and store logs and model.",
    )
    lost_grace_s: float = Field(
        default=1.5,
        gt=0,
        description="Seconds that a dead member's last message may take to arrive.",
    )
    settle_s: float = Field(
        default=4.0,
        gt=0,
        description="The seconds after a member's failure in which a lost member still "
        "counts as its cause.",
    )
    jobs_dir: Path | None = Field(
        default=None, description="The directory in which members work; empty: `jobs` in STATE_DIR."
    )
    first_uid: int = Field(
        default=1_900_000_000,
        ge=1000,
        lt=2**31,
        description="The first user id for jobs, if the service runs as root; each job on this "
        "machine runs as its own user. The ids must not be used by anybody else.",
    )
    uids: int = Field(
        default=2000, ge=1, le=100_000, description="The number of such user ids, one per job."
    )

    runtime: Literal["local", "kubernetes"] = Field(
        default="local", description="The place where members run: this machine, or pods."
    )
    namespace: str = Field(default="default", description="Kubernetes namespace of the jobs' pods.")
    project_namespaces: dict[ProjectName, KubernetesName] = Field(
        default_factory=dict,
        description="Kubernetes namespaces for the jobs of certain projects, by project; all "
        "others run in NAMESPACE. The objects that jobs may name (allowed_…) are looked up "
        "in the job's namespace.",
    )
    owner: str = Field(
        default="barograph",
        max_length=63,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        description="The label value that marks this installation's Kubernetes objects, unique "
        "in the jobs' namespace.",
    )
    program_uid: int = Field(
        default=10_001, ge=1, description="User and group of all containers of a job."
    )
    launcher_image: str = Field(
        default="",
        description="The image of a pod's init and sidecar containers: the task service's own.",
    )
    program_image: str = Field(default="", description="The image for jobs that name none.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="The policy by which nodes pull images."
    )
    priority_class: str = Field(default="", description="The PriorityClass of jobs that name none.")
    queue: str = Field(default="", description="The Kueue LocalQueue of jobs that name none.")
    node_selector: dict[str, str] = Field(
        default_factory=dict,
        description="Labels of the nodes that jobs may use.",
    )
    tolerations: list[dict[str, object]] = Field(
        default_factory=list,
        description="Tolerations of the jobs' pods.",
    )
    allowed_images: tuple[str, ...] = Field(
        default=("tensorflow/tensorflow",),
        description="Repositories from which jobs may use images, in addition to the program "
        "image's; one that ends in `/` allows everything below it, `*` everything.",
    )
    allowed_priority_classes: tuple[str, ...] = Field(
        default=(),
        description="PriorityClasses that jobs may name; `*`: all but `system-*`.",
    )
    allowed_queues: tuple[str, ...] = Field(
        default=("*",),
        description="Kueue LocalQueues of the jobs' namespace that jobs may name; `*`: all.",
    )
    allowed_claims: tuple[str, ...] = Field(
        default=(),
        description="PersistentVolumeClaims of the jobs' namespace that jobs may mount; `*`: all.",
    )
    allowed_config_maps: tuple[str, ...] = Field(
        default=(),
        description="ConfigMaps of the jobs' namespace that jobs may read; `*`: all.",
    )
    allowed_secrets: tuple[KubernetesName, ...] = Field(
        default=(),
        description="Secrets of the jobs' namespace that jobs may read or pull images with, each "
        "by name, because launchers' own Secrets are in the same namespace.",
    )
    allowed_nfs: tuple[str, ...] = Field(
        default=(),
        description="NFS exports that jobs may mount, as `SERVER:/PATH`, including everything "
        "below them.",
    )
    allowed_host_paths: tuple[str, ...] = Field(
        default=(),
        description="Directories of the nodes that jobs may mount read-only, including "
        "everything below them.",
    )
    allowed_tolerations: tuple[str, ...] = Field(
        default=(),
        description="Keys of taints that jobs may tolerate; `*`: all but `node.kubernetes.io/`.",
    )
    allowed_runtime_classes: tuple[KubernetesName, ...] = Field(
        default=(), description="RuntimeClasses that jobs may name."
    )
    allowed_service_accounts: tuple[KubernetesName, ...] = Field(
        default=(),
        description="Service accounts of the jobs' namespace that jobs may use, each by name; "
        "programs may receive their tokens.",
    )
    allowed_host_network: bool = Field(
        default=False,
        description="Allow jobs to use the network of their nodes, where no network policy holds: "
        "they reach the services that listen on loopback there, and the provider's metadata.",
    )
    trust_config_map: str = Field(
        default="",
        description="The ConfigMap of the jobs' namespace whose `ca.crt` launchers trust beside the"
        " public authorities, as `ca_file` is for services.",
    )
    program_storage: str = Field(
        default="64Gi",
        pattern=r"^[1-9][0-9]{0,11}(Ki|Mi|Gi|Ti)$",
        description="The disk space that a pod of a job may use on its node, including package "
        "and results, as a Kubernetes quantity; a pod that uses more is evicted.",
    )
    pod_grace_s: int = Field(
        default=120,
        ge=10,
        description="Seconds that a pod has to store results once it is asked to stop.",
    )
    node_loss_s: int = Field(
        default=30,
        ge=0,
        description="Seconds that a node may be unreachable before its pods count as lost.",
    )
    gang_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds within which all pods of a cluster must be scheduled.",
    )
    tfjob_namespaces: tuple[KubernetesName, ...] = Field(
        default=(),
        description="Kubernetes namespaces whose TFJobs (kubeflow.org/v1) are run as jobs; needs"
        " the Kubernetes runtime.",
    )
    kubeconfig: Path | None = Field(
        default=None, description="The kubeconfig file; empty: the service account of the pod."
    )

    @model_validator(mode="after")
    def _can_have_replicas(self) -> Self:
        check_replicas(self.replicas, self.store_url)
        return self

    @field_validator("allowed_nfs", "allowed_host_paths")
    @classmethod
    def _are_directories(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            path = "/" + value.partition(":/")[2] if ":/" in value else value
            if not path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{value!r} is no whole path")
        return values

    @field_validator("member_signing_key")
    @classmethod
    def _signs(cls, key: SecretStr) -> SecretStr:
        # A variable that must be one line has its newlines escaped.
        pem = key.get_secret_value().replace("\\n", "\n")
        if pem:
            check_signing_key(pem)
        return SecretStr(pem)

    @model_validator(mode="after")
    def _projects_are_apart(self) -> Self:
        taken = [self.namespace, *self.project_namespaces.values()]
        twice = sorted({name for name in taken if taken.count(name) > 1})
        if twice:
            raise ValueError(f"project_namespaces: {', '.join(twice)} would be shared")
        return self

    @model_validator(mode="after")
    def _tfjobs_need_a_cluster(self) -> TaskSettings:
        if self.tfjob_namespaces and self.runtime != "kubernetes":
            raise ValueError("tfjob_namespaces needs runtime 'kubernetes'")
        return self

    def member_broker_url_of(self, job_id: str, lifetime_s: float) -> str:
        """The broker's address for the launchers of a job, good for so many seconds."""
        url, key = self.member_broker_url.get_secret_value(), self.member_signing_key
        if not key.get_secret_value():
            return url
        return url_with_token(
            url,
            key.get_secret_value(),
            Principal.MEMBER,
            job_word(job_id),
            time.time() + lifetime_s,
        )

    @property
    def cpu(self) -> float:
        """CPU cores available to jobs."""
        own = _CPU_OVERCOMMIT * (os.cpu_count() or 1)
        return self.capacity_cpu or (own if self.runtime == "local" else math.inf)

    @property
    def memory(self) -> float:
        """Bytes available to jobs."""
        own = psutil.virtual_memory().total * 0.8
        return self.capacity_memory or (own if self.runtime == "local" else math.inf)

    @property
    def work_dir(self) -> Path:
        """The root of members' directories."""
        return (self.jobs_dir or self.state_dir / "jobs").expanduser().resolve()
