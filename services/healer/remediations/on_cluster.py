"""The common part of remediations through the Kubernetes API: access, allow-list, errors."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from services.healer.remediations.base import Step, StepFailed
from services.healer.remediations.stepwise import NotApplicable, Stepwise
from shared.cluster import Cluster, ClusterError, NotFound, Object
from shared.contracts import SeriesRef

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
"""DNS-1123 labels and subdomains: labels come with samples, and anybody's text may stand there."""
NAMESPACE_LABELS = ("namespace", "exported_namespace", "kubernetes_namespace")


@functools.lru_cache(maxsize=4)
def connected(kubeconfig: Path | None) -> Cluster:
    """One client for all remediations with the same way in."""
    return Cluster(kubeconfig)


@contextmanager
def refusals() -> Iterator[None]:
    """The API server's error becomes the step's failure."""
    try:
        yield
    except ClusterError as error:
        raise StepFailed(str(error)) from error


class OnCluster(Stepwise[Object]):
    """Acts on one object that the series' labels name, in an allow-listed namespace."""

    PLACE: ClassVar[Literal["node", "cluster"]] = "cluster"
    LABELS: ClassVar[tuple[str, ...]] = ()
    """Labels that may name the object; kube-state-metrics' names."""
    KIND: ClassVar[str] = ""
    """The object's kind; empty: the kind is that of the label that names it."""
    COLLECTION: ClassVar[str] = ""
    """The API's path of the kind's objects, with ``{namespace}`` and maybe ``{kind}``."""
    RIGHT: ClassVar[str] = "none of its own: bind the healer's service account to a role of yours"
    """The value below ``healer.remediations.kubernetes`` of the chart that grants what it needs."""

    kubeconfig: Path | None = Field(
        default=None, description="The kubeconfig file; none: the healer's own service account."
    )
    namespaces: tuple[str, ...] = Field(
        default=(), description="Shell patterns of the namespaces in which it may act."
    )

    @classmethod
    def place(cls, series: SeriesRef) -> tuple[str, str]:
        """Namespace and name; empty where the labels do not say."""
        labels = series.labels
        namespace = next((labels[n] for n in NAMESPACE_LABELS if labels.get(n)), "")
        return namespace, next((labels[n] for n in cls.LABELS if labels.get(n)), "")

    @classmethod
    def kind(cls, series: SeriesRef) -> str:
        """The kind of the object that the labels name; empty where they name none."""
        return cls.KIND or next((n for n in cls.LABELS if series.labels.get(n)), "")

    @classmethod
    def target(cls, series: SeriesRef) -> str:
        namespace, name = cls.place(series)
        return f"{namespace}/{cls.kind(series)}/{name}" if name else series.host

    def applies(self, series: SeriesRef) -> str:
        namespace, name = self.place(series)
        if not namespace or not name:
            return f"the series has no labels namespace and {' or '.join(self.LABELS)}"
        if not _NAMESPACE.fullmatch(namespace) or not NAME.fullmatch(name):
            return "the series' labels are no names of a namespace and an object"
        if not any(fnmatchcase(namespace, pattern) for pattern in self.namespaces):
            return f"namespace {namespace} is not allow-listed"
        return ""

    def path(self, namespace: str, name: str, kind: str = "") -> str:
        """The object's path in the API."""
        return f"{self.COLLECTION.format(namespace=namespace, kind=kind or self.KIND)}/{name}"

    def look(self, series: SeriesRef) -> Object:
        namespace, name = self.place(series)
        try:
            found = self.cluster.get(self.path(namespace, name, self.kind(series)))
        except NotFound as error:
            raise NotApplicable(f"there is no such {self.kind(series)}: {error}") from error
        except ClusterError as error:
            raise NotApplicable(f"the API server would not say: {error}") from error
        meta = found.get("metadata") or {}
        if (meta.get("namespace", ""), meta.get("name")) != (namespace, name):
            raise NotApplicable("the API server names another object than the series' labels")
        return found

    @property
    def cluster(self) -> Cluster:
        return connected(self.kubeconfig)

    def found(self, step: Step) -> Object | None:
        """The object a step is about, None when it is gone; StepFailed for other answers."""
        namespace, kind, name = step.target.split("/")
        try:
            with refusals():
                return self.cluster.get(self.path(namespace, name, kind))
        except StepFailed as error:
            if isinstance(error.__cause__, NotFound):
                return None
            raise


def named(item: Object, kind: str) -> str:
    """``namespace/kind/name``; a node has no namespace."""
    meta = item["metadata"]
    return f"{meta.get('namespace', '')}/{kind}/{meta['name']}"


def uid(item: Object) -> str:
    return str(item["metadata"]["uid"])


def version(item: Object) -> str:
    return str(item["metadata"]["resourceVersion"])
