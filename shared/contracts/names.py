"""Names and quantities that several contracts use, as Kubernetes writes them; and roles."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

MemoryQuantity = Annotated[
    str,
    Field(
        pattern=r"^[1-9][0-9]{0,11}(Ki|Mi|Gi|Ti|k|M|G|T)?$",
        examples=["10240Mi"],
        description="Memory of each container as a Kubernetes quantity, bytes without a suffix.",
    ),
]
KubernetesName = Annotated[
    str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", examples=["research"])
]

DEFAULT_PROJECT = "default"
"""The project of whatever names none."""
PROJECT_WORD, MAX_PROJECT = "[a-z0-9]([a-z0-9-]*[a-z0-9])?", 50
ProjectName = Annotated[
    str,
    Field(
        max_length=MAX_PROJECT,
        pattern=f"^{PROJECT_WORD}$",
        examples=["vision"],
        description="The name of a project, which owns jobs, packages, logs and results.",
    ),
]

_LABEL_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
LabelKey = Annotated[
    str,
    Field(
        max_length=317,
        pattern=rf"^([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL_NAME}$",
        examples=["topology.kubernetes.io/zone"],
        description="The key of a label, a taint or an annotation.",
    ),
]
LabelValue = Annotated[str, Field(max_length=63, pattern=rf"^({_LABEL_NAME})?$")]


class Role(StrEnum):
    """A member's task type, in TensorFlow's words."""

    CHIEF = "chief"
    PS = "ps"
    WORKER = "worker"
    EVALUATOR = "evaluator"


_SUFFIX = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40} | {
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}


def memory_bytes(quantity: str) -> int:
    """Bytes of a ``MemoryQuantity``."""
    for suffix, factor in _SUFFIX.items():
        if quantity.endswith(suffix):
            return int(quantity.removesuffix(suffix)) * factor
    return int(quantity)


def twice_the_memory(text: str) -> str:
    """The next thing to try for who ran out of memory, e.g. ``2Gi`` of ``1024Mi``."""
    mebibytes = -(-2 * memory_bytes(text) // 2**20)
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"
