"""What to do instead of each field of a TFJob that has no counterpart here."""

from __future__ import annotations

_OF_THE_CLUSTER = "left out: the cluster's own notes"
_OF_THE_PLATFORM = "left out: the platform sets it"
FILES = (
    "bring data in a package's `data` folder (`tshell submit FOLDER -f FILE`) or read them from an"
    " object store; leave results in $BAROGRAPH_MODEL_DIR and $BAROGRAPH_OUTPUT_DIR"
)
_IDENTITY = "a program gets no Kubernetes identity here; remove it"
_PROBES = "a program counts as running while its process lives; remove it"
_OWN_POD = "the program shares nothing with the node or other containers; remove it"

DOCUMENT = {"status": _OF_THE_CLUSTER}
METADATA = {
    "namespace": "left out: jobs run in the installation's namespace for jobs",
    "labels": "left out: pods carry labels of the platform only",
    "annotations": "left out: pods carry annotations of the platform only",
} | dict.fromkeys(
    (
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "selfLink",
        "managedFields",
        "ownerReferences",
        "finalizers",
    ),
    _OF_THE_CLUSTER,
)
SPEC = dict.fromkeys(
    ("cleanPodPolicy", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit"),
    "in v1 it belongs below runPolicy; move it there",
) | {
    "enableDynamicWorker": "the number of workers is fixed; a changed membership restarts all"
    " members from their checkpoint with a new ClusterSpec"
}
RUN_POLICY = {"managedBy": "only Barograph runs this job; remove it"}
SCHEDULING = {"minResources": "a whole cluster is admitted or none of it; remove it"}
TEMPLATE_METADATA = {
    "labels": METADATA["labels"],
    "annotations": METADATA["annotations"],
    "creationTimestamp": _OF_THE_CLUSTER,
    "name": _OF_THE_PLATFORM,
}
POD = {
    "initContainers": "prepare what it prepares in the package or at the program's start",
    "serviceAccountName": _IDENTITY,
    "serviceAccount": _IDENTITY,
    "automountServiceAccountToken": _IDENTITY,
    "affinity": "use --placement spread or together, or the installation's node selector",
    "topologySpreadConstraints": "use --placement spread or together",
    "tolerations": "they are a setting of the installation (BAROGRAPH_TASK_TOLERATIONS)",
    "securityContext": "pods run as Pod Security 'restricted' asks; remove it",
    "activeDeadlineSeconds": "use runPolicy.activeDeadlineSeconds",
    "hostPID": _OWN_POD,
    "hostIPC": _OWN_POD,
    "shareProcessNamespace": _OWN_POD,
    "runtimeClassName": "choose nodes by the installation's node selector",
    "nodeName": "choose nodes by the installation's node selector",
}
POD_HARMLESS = dict.fromkeys(
    (
        "restartPolicy",
        "dnsPolicy",
        "schedulerName",
        "terminationGracePeriodSeconds",
        "enableServiceLinks",
    ),
    _OF_THE_PLATFORM,
)
CONTAINER = {
    "volumeDevices": FILES,
    "livenessProbe": _PROBES,
    "readinessProbe": _PROBES,
    "startupProbe": _PROBES,
    "lifecycle": "do it in the program; it gets SIGTERM before it must end",
    "securityContext": POD["securityContext"],
}
CONTAINER_HARMLESS = {
    "ports": "left out: the port is chosen at run time and stands in TF_CONFIG",
} | dict.fromkeys(
    ("imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy", "stdin", "tty"),
    _OF_THE_PLATFORM,
)
VALUE_FROM = "not supported; give the value itself; secrets of the cluster do not reach programs"
RESOURCES = {"claims": "ask for the device class by --device-class"}
