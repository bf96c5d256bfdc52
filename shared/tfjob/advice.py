"""Advice for each field of a TFJob that has no counterpart here."""

from __future__ import annotations

_OF_THE_CLUSTER = "left out: the cluster's own notes"
_OF_THE_PLATFORM = "left out: the platform sets it"
FILES = (
    "bring data in a package's `data` folder (`tshell submit FOLDER -f FILE`) or read them from an"
    " object store; leave results in $BAROGRAPH_MODEL_DIR and $BAROGRAPH_OUTPUT_DIR"
)
_PROBES = "a program counts as running while its process lives; remove it"
_OWN_POD = "the program shares nothing with the node or other containers; remove it"

DOCUMENT = {"status": _OF_THE_CLUSTER}
METADATA = {
    "namespace": "left out: jobs run in the installation's namespace for jobs",
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
NOT_ELASTIC = (
    "a worker joins a running cluster only where a Chief and PS replicas go on without it, the"
    " Chief's success ends the job and pods have addresses of their own; otherwise a changed"
    " membership restarts all members from their checkpoint"
)
RUN_POLICY = {"managedBy": "only Barograph runs this job; remove it"}
SCHEDULING = {"minResources": "left out: a whole cluster is admitted or none of it"}
TEMPLATE_METADATA = {
    "labels": "left out: pods carry labels of the platform only",
    "annotations": METADATA["annotations"],
    "creationTimestamp": _OF_THE_CLUSTER,
    "name": _OF_THE_PLATFORM,
}
POD = {
    "activeDeadlineSeconds": "use runPolicy.activeDeadlineSeconds",
    "hostPID": _OWN_POD,
    "hostIPC": _OWN_POD,
    "shareProcessNamespace": _OWN_POD,
    "nodeName": "choose nodes by nodeSelector or affinity",
    "hostAliases": "have the names served by the cluster's DNS",
    "dnsConfig": "pods use the cluster's DNS",
}
USUAL_ACCOUNT = "left out: a pod that names none has it as well; here no pod has its token"
DEFAULTS: dict[str, tuple[object, ...]] = {
    "hostUsers": (True,),
    "mountPropagation": ("None",),
    "os": ({"name": "linux"},),
    "preemptionPolicy": ("PreemptLowerPriority",),
    "priority": (0,),
    "procMount": ("Default",),
    "recursiveReadOnly": ("Disabled",),
    "resizePolicy": (
        [
            {"resourceName": "cpu", "restartPolicy": "NotRequired"},
            {"resourceName": "memory", "restartPolicy": "NotRequired"},
        ],
    ),
}
"""Fields with the values that Kubernetes gives them: written out, they ask for nothing."""
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
}
OWN_CONTAINER = CONTAINER | dict.fromkeys(
    ("livenessProbe", "readinessProbe", "startupProbe"),
    "a sidecar is restarted when its process ends; remove it",
)
POD_SECURITY = "pods run as Pod Security 'restricted' asks, as the installation's user; remove it"
AFFINITY = dict.fromkeys(
    ("podAffinity", "podAntiAffinity"),
    "use --placement together or spread, or topologySpreadConstraints",
)
NODE_TERM = {"matchFields": "use a label, e.g. kubernetes.io/hostname"}
ANY_TAINT = "not supported; name the keys of the taints, each of them"
SPREAD_SELECTOR = "left out: it is the job's own members that are spread"
WRITABLE_HOST_PATH = "not supported; a node's directory is mounted readOnly: true"
CONTAINER_HARMLESS = {
    "ports": "left out: the port is chosen at run time and stands in TF_CONFIG",
} | dict.fromkeys(
    ("imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy", "stdin", "tty"),
    _OF_THE_PLATFORM,
)
VALUE_FROM = "not supported; one of secretKeyRef, configMapKeyRef, fieldRef, resourceFieldRef is"
RESOURCES = {"claims": "ask for the device class by --device-class"}
