"""A pod that copies a bucket out of one object store and into another, as rclone would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster.images import image
from tests.cluster.kube import Kube
from tests.waiting import eventually

_NAME = "copies"
_STORE = """
import boto3, botocore.exceptions, os, pathlib, sys
url, key, secret = sys.argv[1:4]
os.environ["AWS_CA_BUNDLE"] = "/tls/ca.crt"
s3 = boto3.client("s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret,
                  region_name="us-east-1")
here = pathlib.Path("/tmp/bucket")
"""
_SAVE = (
    _STORE
    + """
for page in s3.get_paginator("list_objects_v2").paginate(Bucket="barograph"):
    for found in page.get("Contents", []):
        path = here / found["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            s3.download_file("barograph", found["Key"], str(path))
        except botocore.exceptions.ClientError as error:
            # A running service has removed it since the listing, as it does with old snapshots.
            if error.response["Error"]["Code"] != "404":
                raise
print(sum(path.is_file() for path in here.rglob("*")))
"""
)
_LOAD = (
    _STORE
    + """
s3.create_bucket(Bucket="barograph")
files = [path for path in here.rglob("*") if path.is_file()]
for path in files:
    s3.upload_file(str(path), "barograph", str(path.relative_to(here)))
print(len(files))
"""
)


@dataclass
class ObjectCopies:
    """The copy of a bucket, in a pod of ``namespace`` that trusts the Secret ``tls``."""

    kube: Kube
    namespace: str

    def start(self) -> None:
        """Return when the pod runs."""
        container: dict[str, Any] = {
            "name": _NAME,
            "image": image("barograph-client"),
            "imagePullPolicy": "Never",
            "command": ["sleep", "3600"],
            "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}],
        }
        volume = {"name": "tls", "secret": {"secretName": "tls"}}
        self.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": _NAME, "namespace": self.namespace},
                "spec": {
                    "containers": [container],
                    "volumes": [volume],
                    "terminationGracePeriodSeconds": 0,
                },
            }
        )
        eventually(self._runs, "the pod that copies")

    def _runs(self) -> bool:
        phase = self.kube.core.read_namespaced_pod(_NAME, self.namespace).status.phase
        return bool(phase == "Running")

    def save(self, url: str, keys: Mapping[str, str]) -> int:
        """Copy all objects of the store at ``url`` here; how many there are."""
        return self._copy(_SAVE, url, keys)

    def load(self, url: str, keys: Mapping[str, str]) -> int:
        """Copy all objects from here into an empty store."""
        return self._copy(_LOAD, url, keys)

    def _copy(self, program: str, url: str, keys: Mapping[str, str]) -> int:
        command = ["python3", "-c", program, url, keys["access-key"], keys["secret-key"]]
        return int(self.kube.kubectl("exec", "-n", self.namespace, _NAME, "--", *command))
