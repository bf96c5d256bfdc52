"""The environment and arguments that the user's program is given; pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from services.task.processes import MARK
from services.task.spec import MemberSpec
from shared.contracts import ClusterSpecReady, Role


@dataclass(frozen=True)
class Places:
    """The directories of a member's program."""

    code: Path
    data: Path
    work: Path
    checkpoints: Path
    scratch: Path | None = None
    """The directory for HOME and TMPDIR, if not ``work``."""

    @property
    def model(self) -> Path:
        return self.work / "model"

    @property
    def output(self) -> Path:
        return self.work / "output"

    @property
    def home(self) -> Path:
        return (self.scratch or self.work) / "home"

    @property
    def temporary(self) -> Path:
        return (self.scratch or self.work) / "tmp"

    def make(self) -> None:
        """Create those the program finds empty."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        # A package need not bring data.
        for directory in (self.data, self.model, self.output, self.home, self.temporary):
            directory.mkdir(exist_ok=True)


def environment(
    spec: MemberSpec, places: Places, cluster: ClusterSpecReady | None
) -> dict[str, str]:
    """The complete environment of the program, without any of ours."""
    epoch = cluster.epoch if cluster else 0
    values = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "USER": "barograph",
        "LOGNAME": "barograph",
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",  # errors only: its greetings bury a program's own lines
        **spec.job.env,
        "HOME": str(places.home),
        "TMPDIR": str(places.temporary),
        MARK: spec.key,
        "BAROGRAPH_JOB_ID": spec.job.job_id,
        "BAROGRAPH_DATA_DIR": str(places.data),
        "BAROGRAPH_MODEL_DIR": str(places.model),
        "BAROGRAPH_OUTPUT_DIR": str(places.output),
        "BAROGRAPH_CHECKPOINT_DIR": str(places.checkpoints),
        "BAROGRAPH_EPOCH": str(epoch),
    }
    if cluster is not None:
        values["TF_CONFIG"] = json.dumps(tf_config(spec, cluster))
    return values


def tf_config(spec: MemberSpec, cluster: ClusterSpecReady) -> dict[str, object]:
    """TensorFlow's view of the cluster. An evaluator is never part of it."""
    addresses = {
        str(role): list(hosts)
        for role, hosts in cluster.cluster.items()
        if role is not Role.EVALUATOR
    }
    task = {"type": str(spec.member.role), "index": spec.member.index}
    return {"cluster": addresses, "task": task}


def arguments(spec: MemberSpec, cluster: ClusterSpecReady | None) -> list[str]:
    """The program's arguments: the user's, and TensorFlow 1's flags where asked for."""
    args = list(spec.job.args)
    if cluster is not None and spec.job.cluster_style == "flags":
        for role, hosts in cluster.cluster.items():
            if role is not Role.EVALUATOR:
                args.append(f"--{role}_hosts={','.join(hosts)}")
        args += [f"--job_name={spec.member.role}", f"--task_index={spec.member.index}"]
    return args
