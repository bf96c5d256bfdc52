"""The cluster's programs and private network, as ``scripts/cluster.sh run`` sets them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shared.embedded.process import EmbeddedError


@dataclass(frozen=True)
class PrivateNetwork:
    """The network namespace this process runs in."""

    address: str
    """The address of the control plane and of the node; not a loopback address."""
    programs: Path

    def program(self, name: str) -> Path:
        path = self.programs / name
        if not path.exists():
            raise EmbeddedError(f"{name} is not built: run `scripts/cluster.sh build`")
        return path


def private_network() -> PrivateNetwork:
    """The namespace we are in; EmbeddedError when there is none, for nothing here may listen
    on the machine itself.
    """
    try:
        return PrivateNetwork(
            os.environ["BAROGRAPH_CLUSTER_ADDRESS"], Path(os.environ["BAROGRAPH_CLUSTER_BIN"])
        )
    except KeyError:
        raise EmbeddedError(
            "the cluster's tests run in a private network: use `make test-cluster`, or "
            "`scripts/cluster.sh run .venv/bin/python -m pytest tests/cluster`; or name a cluster "
            "to use in BAROGRAPH_TEST_KUBECONFIG"
        ) from None
