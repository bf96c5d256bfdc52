"""GPUs of fake nodes for dynamic resource allocation, published as NVIDIA's driver does it.

The allocation is real: the scheduler chooses devices of these ResourceSlices, and the controller
manager makes the pods' claims and frees them. Only a kubelet's part, the preparation of a device
for its containers, is nobody's on a fake node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.kube import Kube

DRIVER = "gpu.nvidia.com"
WHOLE, SLICE = "gpu.nvidia.com", "mig-1g.10gb"
"""DeviceClasses: the driver's own of whole GPUs, and an administrator's of one MIG profile."""
_API = "resource.k8s.io/v1"
_PROFILE = "1g.10gb"


@dataclass
class Devices:
    """The devices and DeviceClasses that a test has published."""

    kube: Kube
    _slices: list[str] = field(default_factory=list, init=False)

    def publish_classes(self) -> None:
        """The DeviceClasses, with which jobs ask for devices."""
        of = f"device.attributes['{DRIVER}']"
        self.kube.apply(
            _class(WHOLE, f"{of}.type == 'gpu'"),
            _class(SLICE, f"{of}.type == 'mig' && {of}.profile == '{_PROFILE}'"),
        )

    def publish(self, node: str, *, gpus: int = 0, slices: int = 0) -> None:
        """Devices of a node: whole GPUs, and slices of further ones."""
        devices = [_device(f"gpu-{n}", {"type": {"string": "gpu"}}) for n in range(gpus)]
        profile = {"type": {"string": "mig"}, "profile": {"string": _PROFILE}}
        devices += [_device(f"gpu-{gpus}-mig-1g10gb-{n}", profile) for n in range(slices)]
        name = f"{node}-{DRIVER}"
        self.kube.apply(
            {
                "apiVersion": _API,
                "kind": "ResourceSlice",
                "metadata": {"name": name},
                "spec": {
                    "driver": DRIVER,
                    "nodeName": node,
                    "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
                    "devices": devices,
                },
            }
        )
        self._slices.append(name)

    def remove(self) -> None:
        """Delete them."""
        if self._slices:
            self.kube.kubectl("delete", "resourceslice", *self._slices)
        self.kube.kubectl("delete", "deviceclass", WHOLE, SLICE)

    def claims(self, namespace: str) -> list[Any]:
        """The claims of a namespace and the templates that they are made from."""
        found: list[Any] = self.kube.get("resourceclaims,resourceclaimtemplates", "-n", namespace)[
            "items"
        ]
        return found

    def allocated(self, namespace: str) -> list[str]:
        """``node/device`` of every device that a claim of this namespace holds, sorted."""
        claims = self.kube.get("resourceclaims", "-n", namespace)["items"]
        return sorted(f"{each['pool']}/{each['device']}" for each in _results(claims))


def _results(claims: Iterable[Any]) -> Iterable[Any]:
    for claim in claims:
        allocation = (claim.get("status") or {}).get("allocation") or {}
        yield from allocation.get("devices", {}).get("results", [])


def _class(name: str, expression: str) -> dict[str, Any]:
    driver = {"cel": {"expression": f"device.driver == '{DRIVER}'"}}
    return {
        "apiVersion": _API,
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": [driver, {"cel": {"expression": expression}}]},
    }


def _device(name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "attributes": attributes}
