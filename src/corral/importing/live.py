"""Objects as an API server answers them, without what it adds: identities, states, and the defaults of fields.

What is left is what people wrote, so that they are imported like manifests. Defaults are those of Kubernetes 1.36's
API reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from corral.linting.values import Source
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json

SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_OF_THE_SERVER = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "finalizers", "selfLink"}
)
_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/", "pv.kubernetes.io/",
    "volume.kubernetes.io/", "volume.beta.kubernetes.io/", "batch.kubernetes.io/", "objectset.rio.cattle.io/",
)  # fmt: skip
_DEFAULTS: Mapping[str, tuple[Json, ...]] = {
    "allocateLoadBalancerNodePorts": (True,),
    "backoffLimit": (6,),
    "completionMode": ("NonIndexed",),
    "completions": (1,),
    "defaultMode": (420,),
    "dnsPolicy": ("ClusterFirst",),
    "externalTrafficPolicy": ("Cluster",),
    "failureThreshold": (3,),
    "imagePullPolicy": ("Always", "IfNotPresent"),  # by the tag of the image
    "internalTrafficPolicy": ("Cluster",),
    "ipFamilies": (["IPv4"], ["IPv6"]),
    "ipFamilyPolicy": ("SingleStack",),
    "manualSelector": (False,),
    "minReadySeconds": (0,),
    "parallelism": (1,),
    "periodSeconds": (10,),
    "persistentVolumeClaimRetentionPolicy": ({"whenDeleted": "Retain", "whenScaled": "Retain"},),
    "podManagementPolicy": ("OrderedReady",),
    "podReplacementPolicy": ("TerminatingOrFailed",),
    "progressDeadlineSeconds": (600,),
    "protocol": ("TCP",),
    "publishNotReadyAddresses": (False,),
    "restartPolicy": ("Always",),
    "revisionHistoryLimit": (10,),
    "schedulerName": ("default-scheduler",),
    "scheme": ("HTTP",),
    "serviceAccount": ("default",),
    "serviceAccountName": ("default",),
    "sessionAffinity": ("None",),
    "strategy": ({"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},),
    "successThreshold": (1,),
    "suspend": (False,),
    "terminationGracePeriodSeconds": (30,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
    "timeoutSeconds": (1,),
    "updateStrategy": ({"rollingUpdate": {"partition": 0}, "type": "RollingUpdate"}, {"type": "RollingUpdate"}),
    "volumeMode": ("Filesystem",),
}
_LABELS = ("batch.kubernetes.io/", "controller-uid", "job-name")
"""Labels that the controller of Jobs adds."""


def write_objects(objects: Iterable[Json]) -> Iterator[Source]:
    """Write the objects that people made as texts, each with a name that says what it is.

    Objects that others own, such as the Jobs of a CronJob, and those of Kubernetes itself are left out.
    """
    for answer in objects:
        fields = as_object(answer)
        metadata = as_object(fields.get("metadata"))
        kind, name, namespace = (
            as_text(value) for value in (fields.get("kind"), metadata.get("name"), metadata.get("namespace"))
        )
        if namespace in SYSTEM_NAMESPACES or as_list(metadata.get("ownerReferences")) or _is_of_kubernetes(kind, name):
            continue
        place = "/".join(part for part in (kind, namespace, name) if part)
        yield Source(name=f"{place}.yaml", text=json.dumps(_clean_object(fields, kind), indent=2))


def _is_of_kubernetes(kind: str, name: str) -> bool:
    return (kind, name) in {("Service", "kubernetes"), ("ConfigMap", "kube-root-ca.crt")} or (
        kind == "Namespace" and name in SYSTEM_NAMESPACES
    )


def _clean_object(fields: dict[str, Json], kind: str) -> dict[str, Json]:
    cleaned = {key: value for key, value in fields.items() if key != "status" or kind == "Node"}
    metadata = {key: value for key, value in as_object(fields.get("metadata")).items() if key not in _OF_THE_SERVER}
    annotations = as_object(metadata.pop("annotations", None))
    kept = {name: value for name, value in annotations.items() if not name.startswith(_ANNOTATIONS)}
    cleaned["metadata"] = {**metadata, **({"annotations": kept} if kept else {})}
    if kind == "Node":
        return cleaned
    spec = as_object(fields.get("spec"))
    if kind == "Service":
        spec = _clean_service(spec)
    if kind == "Job":
        spec = {key: value for key, value in spec.items() if key != "selector"}
    return {**cleaned, **({"spec": _drop_defaults(spec)} if spec else {})}


def _clean_service(spec: dict[str, Json]) -> dict[str, Json]:
    """Leave out the addresses that the server chose; those of a headless Service are its meaning."""
    chosen = {"clusterIPs", *([] if spec.get("clusterIP") == "None" else ["clusterIP"])}
    ports = [as_object(port) for port in as_list(spec.get("ports"))]
    if spec.get("type") == "LoadBalancer":
        ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in ports]
    kept = {key: value for key, value in spec.items() if key not in chosen and (key, value) != ("type", "ClusterIP")}
    return {**kept, "ports": ports}


def _drop_defaults(value: Json) -> Json:
    if isinstance(value, list):
        return [_drop_defaults(entry) for entry in cast("list[Json]", value)]
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Json]", value)
    return {
        key: _drop_defaults(inner)
        for key, inner in fields.items()
        if inner not in _DEFAULTS.get(key, ())
        and key != "creationTimestamp"
        and not (key.startswith(_LABELS) and isinstance(inner, str))
    }
