"""A manifest for a service with several replicas on the GPUs of one node.

A StatefulSet and not a Deployment, for two reasons: each replica has a name, and so an address, of its own (D02); and
it is updated by stopping a replica before its successor starts, so it needs no spare GPU (A02).
"""

from __future__ import annotations

from corral.cluster.values import Cluster, Service
from corral.units import Bytes


def several_replicas(cluster: Cluster) -> tuple[Service, ...]:
    """List the services with several replicas that have GPUs of a node of their own."""
    return tuple(one for one in cluster.services.values() if one.replicas > 1 and one.gpus and one.node)


def manifest_of(service: Service, cluster: Cluster) -> str:
    """Write the StatefulSet and its headless Service; what the file leaves open is a comment."""
    return "\n".join([*_stateful_set(service, cluster), "---", *_service(service, cluster)])


def addresses_of(service: Service, cluster: Cluster) -> tuple[str, ...]:
    """List the address of each replica, as programs inside the cluster reach it."""
    namespace = _namespace(service, cluster) or "default"
    port = f":{service.port}" if service.port else ""
    return tuple(f"http://{service.name}-{index}.{service.name}.{namespace}{port}" for index in range(service.replicas))


def _namespace(service: Service, cluster: Cluster) -> str | None:
    return service.namespace or (cluster.kubernetes.namespace if cluster.kubernetes else None)


def _metadata(service: Service, cluster: Cluster) -> list[str]:
    namespace = _namespace(service, cluster)
    return ["metadata:", f"  name: {service.name}", *([f"  namespace: {namespace}"] if namespace else [])]


def _stateful_set(service: Service, cluster: Cluster) -> list[str]:
    return [
        "apiVersion: apps/v1",
        "kind: StatefulSet",
        *_metadata(service, cluster),
        "spec:",
        f"  serviceName: {service.name}",
        f"  replicas: {service.replicas}",
        "  podManagementPolicy: Parallel",
        f"  selector: {{matchLabels: {{app: {service.name}}}}}",
        "  template:",
        f"    metadata: {{labels: {{app: {service.name}}}}}",
        "    spec:",
        "      runtimeClassName: nvidia",
        f"      nodeSelector: {{kubernetes.io/hostname: {service.node}}}",
        "      containers:",
        f"        - name: {service.name}",
        f"          image: {service.image}" if service.image else "          # image: left open in the cluster file",
        *([f"          ports: [{{containerPort: {service.port}}}]"] if service.port else []),
        "          resources:",
        f"            limits: {{{_resources(service, service.memory_limit)}}}",
        *(
            [f"            requests: {{memory: {_size(service.memory_request)}}}"]
            if service.memory_request is not None
            else []
        ),
    ]


def _resources(service: Service, memory: Bytes | None) -> str:
    gpus = f"nvidia.com/gpu: {service.gpus}"
    return gpus if memory is None else f"{gpus}, memory: {_size(memory)}"


def _size(memory: Bytes) -> str:
    return f"{memory // 2**20}Mi" if memory % 2**30 else f"{memory // 2**30}Gi"


def _service(service: Service, cluster: Cluster) -> list[str]:
    return [
        "apiVersion: v1",
        "kind: Service",
        *_metadata(service, cluster),
        "spec:",
        "  clusterIP: None # no address in front of all: each replica has its own",
        f"  selector: {{app: {service.name}}}",
        *([f"  ports: [{{port: {service.port}}}]"] if service.port else []),
    ]
