"""Reads Kubernetes objects: workloads with the addresses and volumes that belong to them, and nodes.

Objects are read as written; what kustomize or Helm would still change is not applied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from corral.cluster.secrecy import is_secret
from corral.cluster.values import Exposure, SecretKey
from corral.importing.claims import Claims
from corral.importing.machines import PRODUCT, read_model, read_node, read_quantity
from corral.importing.understanding import Account
from corral.importing.values import Imported, ImportedService, ImportedVolume, Machine, Origin
from corral.linting.manifests import GPU_RESOURCE, PASSING_KINDS, Container, Manifest, Pod
from corral.linting.tree import Tree, parse_count
from corral.rendering.kubernetes.objects import MANAGER

HOSTNAME = "kubernetes.io/hostname"
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "Job", "Pod"})
_EXPOSING = {"LoadBalancer": "loadBalancer", "NodePort": "nodePort"}
_REPLICA = "statefulset.kubernetes.io/pod-name"
_MANAGED_BY = "app.kubernetes.io/managed-by"
_OF_NO_MEANING = re.compile(r"app\.kubernetes\.io/|helm\.sh/chart$|app$|chart$|heritage$|release$|k8s-app$")
"""Labels by which people and charts name what an object is part of; what selects by them is looked at."""
_NAMED_KINDS = frozenset({"Namespace", "PersistentVolume", "PersistentVolumeClaim", "ConfigMap", "Secret"})
"""Kinds that workloads name: what is not used by one is listed."""


@dataclass(frozen=True)
class _Address:
    """A Service object, and the labels of the pods that it leads to."""

    manifest: Manifest
    selector: Mapping[str, str]

    @property
    def kind(self) -> str | None:
        return _EXPOSING.get(self.manifest.tree["spec"]["type"].raw or "")

    @property
    def name(self) -> str | None:
        """Its name; of the address of a replica, without the replica's number."""
        name, number = self.manifest.name, self.selector.get(_REPLICA, "").rpartition("-")[2]
        return name.removesuffix(f"-{number}") if name is not None and number else name

    @property
    def is_headless(self) -> bool:
        return self.manifest.tree["spec"]["clusterIP"].raw == "None"

    def leads_to(self, pod: Pod) -> bool:
        """Whether it selects the pods, or one replica of them."""
        is_near = not self.manifest.has_namespace or self.manifest.namespace == pod.owner.namespace
        if not is_near or not self.selector:
            return False
        replica = self.selector.get(_REPLICA)
        if replica is not None:
            return replica.rpartition("-")[0] == pod.owner.name
        return self.selector.items() <= pod.labels.items()


def read_objects(manifests: Iterable[Manifest], *, machine: str) -> Imported:
    """Read every object; what is not understood is among the gaps. `machine` is where no object names a node."""
    return _Reader(tuple(manifests), machine).read()


class _Reader:
    """The objects of one cluster, by kind and name."""

    def __init__(self, manifests: tuple[Manifest, ...], machine: str) -> None:
        self._account = Account()
        self._manifests = tuple({manifest.identity: manifest for manifest in reversed(manifests)}.values())[::-1]
        kept = {id(manifest) for manifest in self._manifests}
        for manifest in manifests:
            if id(manifest) not in kept:
                self._account.remark(manifest.tree.place, f"{manifest} is written again: the first one is imported")
        self._by_name = {(manifest.kind, manifest.namespace, manifest.name): manifest for manifest in self._manifests}
        self._claims = Claims(self._by_name, self._account, self._find_only_machine(machine))
        self._addresses = [
            _Address(manifest, {name: value.raw or "" for name, value in manifest.tree["spec"]["selector"].items})
            for manifest in self._manifests
            if manifest.kind == "Service"
        ]
        self._used: set[int] = set()

    def _find_only_machine(self, machine: str) -> str | None:
        """Find the only machine of the input; `machine` where it names none, None where it names several."""
        names = {manifest.name for manifest in self._manifests if manifest.kind == "Node"}
        names |= {pod.spec["nodeSelector"][HOSTNAME].raw for item in self._manifests if (pod := item.pod) is not None}
        names.discard(None)
        return machine if not names else next(iter(names)) if len(names) == 1 else None

    def read(self) -> Imported:
        services: list[ImportedService] = []
        machines: list[Machine] = []
        volumes: dict[str, ImportedVolume] = {}
        for manifest in self._manifests:
            self._account.take(manifest.tree["apiVersion"], manifest.tree["kind"], manifest.tree["metadata"]["name"])
            self._account.take(manifest.tree["metadata"]["namespace"])
            if manifest.kind == "Node":
                machines.append(read_node(manifest, self._account))
            elif manifest.kind in _WORKLOADS and manifest.pod is not None:
                services += self._read_workload(manifest, manifest.pod, volumes)
        for address in self._addresses:
            if id(address.manifest) not in self._used:
                self._account.remark(
                    address.manifest.tree.place, f"{address.manifest}: no workload here has its labels"
                )
        self._list_rest(services)
        return Imported(
            services=tuple(services),
            volumes=tuple(volumes.values()),
            machines=tuple(machines),
            gaps=tuple(sorted(self._account.gaps)),
        )

    def _list_rest(self, services: Sequence[ImportedService]) -> None:
        """List what no workload uses, and in what is used the fields that were not understood."""
        namespaces = {service.namespace for service in services}
        secrets = {key.secret for service in services for key in service.secrets.values()}
        for manifest in self._manifests:
            is_used = (
                id(manifest) in self._used
                or self._claims.is_used(manifest)
                or (manifest.kind == "Namespace" and manifest.name in namespaces)
                or (manifest.kind == "Secret" and manifest.name in secrets)
                or manifest.kind == "Node"
            )
            labels = manifest.tree["metadata"]["labels"]
            self._account.take(*(value for name, value in labels.items if _OF_NO_MEANING.match(name)))
            if is_used and manifest.kind == "Secret":
                continue  # its values stay where they are
            if not is_used and labels[_MANAGED_BY].raw == MANAGER:
                continue  # rendering writes it again
            if is_used:
                self._account.list_rest(manifest.tree, str(manifest))
            elif manifest.kind != "Service":
                why = "nothing that is imported uses it" if manifest.kind in _NAMED_KINDS else "it is not imported"
                self._account.remark(manifest.tree.place, f"{manifest}: {why}")

    def _read_workload(
        self, manifest: Manifest, pod: Pod, volumes: dict[str, ImportedVolume]
    ) -> Iterator[ImportedService]:
        self._used.add(id(manifest))
        spec = manifest.tree["spec"]
        main = [container for container in pod.containers if not container.is_init]
        self._take_selector(manifest, pod)
        addresses = [address for address in self._addresses if address.leads_to(pod)]
        node, model = self._read_place(pod)
        replicas = parse_count(self._account.read(spec["replicas"]) or "1") if manifest.kind != "Job" else 1
        if any(container.gpus for container in main):
            self._take_if(pod.spec["runtimeClassName"], "nvidia")
            for toleration in pod.spec["tolerations"].entries:
                if toleration["key"].raw == GPU_RESOURCE:
                    self._account.take_fields(toleration, "key", "operator", "effect", "value")
        self._take_if(spec["strategy"]["type"], "Recreate")
        self._take_if(pod.spec["restartPolicy"], "Never" if manifest.kind == "Job" else "Always")
        mounts = [self._claims.read_mounts(container, manifest, node, volumes) for container in main]
        of_volumes = (volumes[name].node for paths in mounts for name in paths)
        node = node or next((place for place in of_volumes if place is not None), None)
        for container, paths in zip(main, mounts, strict=True):
            service = self._read_container(container, manifest, addresses if len(main) == 1 else ())
            if len(main) > 1:
                service = self._find_own_address(service, container, addresses)
            yield replace(
                service,
                pod=manifest.name if len(main) > 1 else None,
                replicas=1 if replicas is None else replicas,
                node=node,
                gpu_model=model,
                mounts=paths,
            )

    def _take_selector(self, manifest: Manifest, pod: Pod) -> None:
        """Take the labels that selectors need; Corral has its own."""
        selected = {name for name, _ in manifest.tree["spec"]["selector"]["matchLabels"].items}
        selected |= {name for address in self._addresses if address.leads_to(pod) for name in address.selector}
        self._account.take(manifest.tree["spec"]["selector"]["matchLabels"])
        for labels in (pod.template["metadata"]["labels"], manifest.tree["metadata"]["labels"]):
            taken = (value for name, value in labels.items if name in selected or _OF_NO_MEANING.match(name))
            self._account.take(*taken)

    def _read_place(self, pod: Pod) -> tuple[str | None, str | None]:
        """Read the node that a pod selects, and the model of the GPUs that it selects nodes by."""
        selector = pod.spec["nodeSelector"]
        node = self._account.read(selector[HOSTNAME]) or self._account.read(pod.spec["nodeName"])
        model = selector[PRODUCT].raw
        for term in pod.spec.follow(
            "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"
        ).entries:
            for entry in term["matchExpressions"].entries:
                values = [value.raw for value in entry["values"].entries]
                if entry["key"].raw == HOSTNAME and entry["operator"].raw == "In" and len(values) == 1:
                    node = node or values[0]
                    self._account.take_fields(entry, "key", "operator", "values")
        return node, read_model(model) if model else None

    def _read_container(
        self, container: Container, manifest: Manifest, addresses: Sequence[_Address]
    ) -> ImportedService:
        account, tree = self._account, container.tree
        ports = tree["ports"].entries
        port = parse_count(account.read(ports[0]["containerPort"]) or "") if ports else None
        if ports:
            account.take(ports[0]["name"])
            self._take_if(ports[0]["protocol"], "TCP")
        account.take(tree["name"])
        self._take_if(tree["imagePullPolicy"], "IfNotPresent")
        env, secrets, config_map = self._read_environment(container, manifest)
        limits, requests = tree["resources"]["limits"], tree["resources"]["requests"]
        account.take(limits[GPU_RESOURCE], requests[GPU_RESOURCE])
        gpus = container.gpus + self._count_claimed(container, manifest)
        service = ImportedService(
            name=manifest.name or container.name,
            origin=Origin.KUBERNETES,
            place=tree.place,
            namespace=manifest.namespace,
            is_job=manifest.kind in PASSING_KINDS,
            image=account.read(tree["image"]),
            command=self._read_command(container),
            port=port,
            gpus=gpus,
            env=env,
            secrets=secrets,
            config_map=config_map,
            memory_request=read_quantity(account.read(requests["memory"])),
            memory_limit=read_quantity(account.read(limits["memory"])),
            health_path=self._read_health(container),
        )
        return self._read_addresses(service, ports[0] if ports else None, addresses)

    def _count_claimed(self, container: Container, manifest: Manifest) -> int:
        """Count the GPUs that a container claims (DRA), by the templates of its claims."""
        claims = {claim["name"].raw: claim for claim in container.pod.spec["resourceClaims"].entries}
        count = 0
        for entry in container.tree["resources"]["claims"].entries:
            claim = claims.get(entry["name"].raw)
            name = None if claim is None else claim["resourceClaimTemplateName"].raw
            template = self._by_name.get(("ResourceClaimTemplate", manifest.namespace, name))
            if claim is None or template is None:
                continue
            self._used.add(id(template))
            self._account.take(entry["name"], claim["name"], claim["resourceClaimTemplateName"])
            for request in template.tree.follow("spec", "spec", "devices", "requests").entries:
                asked = request["exactly"] or request
                self._account.take(request["name"], asked["deviceClassName"], asked["count"], asked["allocationMode"])
                count += asked["count"].count or 1
        return count

    def _find_own_address(
        self, service: ImportedService, container: Container, addresses: Sequence[_Address]
    ) -> ImportedService:
        """Name a container of several after itself, with the addresses that lead to its port."""
        own = [
            address
            for address in addresses
            if service.port is not None
            and any(
                (entry["targetPort"] or entry["port"]).raw
                in (str(service.port), container.tree["ports"][0]["name"].raw)
                for entry in address.manifest.tree["spec"]["ports"].entries
            )
        ]
        named = replace(service, name=container.name)
        return self._read_addresses(named, container.tree["ports"][0], own)

    def _read_command(self, container: Container) -> tuple[str, ...]:
        """Read the command with its arguments; arguments of the image's own command stay a gap."""
        command, args = container.tree["command"], container.tree["args"]
        words = (*command.entries, *args.entries) if command else ()
        texts = [word.script for word in words]
        if not texts or None in texts:
            return ()
        self._account.take(*words)
        return tuple(text for text in texts if text is not None)

    def _read_environment(
        self, container: Container, manifest: Manifest
    ) -> tuple[dict[str, str], dict[str, SecretKey], str | None]:
        env: dict[str, str] = {}
        secrets: dict[str, SecretKey] = {}
        config_map: str | None = None
        for entry in container.tree["envFrom"].entries:
            name = entry["configMapRef"]["name"].raw
            source = self._by_name.get(("ConfigMap", manifest.namespace, name))
            if name is None or source is None:
                continue
            config_map = config_map or name
            self._used.add(id(source))
            self._account.take(entry["configMapRef"]["name"])
            for key, value in source.tree["data"].items:
                self._keep_setting(key, value, manifest, env, secrets)
        for entry in container.tree["env"].entries:
            name, reference = entry["name"].raw, entry["valueFrom"]["secretKeyRef"]
            if name is None:
                continue
            if reference["name"].raw and reference["key"].raw:
                secrets[name] = SecretKey(secret=reference["name"].raw or "", key=reference["key"].raw or "")
                self._account.take(entry["name"], reference["name"], reference["key"])
            elif entry["value"]:
                self._keep_setting(name, entry["value"], manifest, env, secrets)
                self._account.take(entry["name"])
        return env, secrets, config_map

    def _keep_setting(
        self, name: str, value: Tree, manifest: Manifest, env: dict[str, str], secrets: dict[str, SecretKey]
    ) -> None:
        """Keep a variable; the value of a secret is never copied."""
        text = value.script
        if text is not None and is_secret(name, text):
            secrets[name] = SecretKey(secret=manifest.name or "?", key=name)
            self._account.take(value)
            what = f"{manifest} {name}: a secret in the open; make the Secret {manifest.name} with this key"
            self._account.remark(value.place, what)
        elif (read := self._account.read(value)) is not None:
            env[name] = read

    def _read_health(self, container: Container) -> str | None:
        """Read the path of the readiness probe; times are Corral's own."""
        path: str | None = None
        for probe in ("readinessProbe", "startupProbe", "livenessProbe"):
            checked = container.tree[probe]["httpGet"]
            if checked["path"].raw is not None and path in (None, checked["path"].raw):
                path = self._account.read(checked["path"])
                self._account.take(checked["port"])
        return path

    def _read_addresses(
        self, service: ImportedService, port: Tree | None, addresses: Sequence[_Address]
    ) -> ImportedService:
        """Read the Services of a workload: one inside gives the name, one outside says how people reach it."""
        inside, exposed = None, None
        of_replicas = any(_REPLICA in address.selector for address in addresses)
        for address in addresses:
            manifest = address.manifest
            self._used.add(id(manifest))
            self._account.take(manifest.tree["spec"]["selector"], manifest.tree["spec"]["type"])
            if manifest.namespace != service.namespace:
                what = f"{manifest} names no namespace: it is taken for one of {service.namespace}, with its workload"
                self._account.remark(manifest.tree.place, what)
            entry = manifest.tree["spec"]["ports"][0]
            number, target = parse_count(entry["port"].raw or ""), (entry["targetPort"] or entry["port"]).raw
            own = {str(service.port), port["name"].raw if port else None}
            if target not in own and not address.is_headless:
                self._account.remark(
                    entry.place, f"{manifest} leads to port {target}, which the container does not name"
                )
                continue
            self._account.take(entry["targetPort"], entry["name"])
            self._take_if(entry["protocol"], "TCP")
            self._take_if(manifest.tree["spec"]["publishNotReadyAddresses"], "true")
            if address.is_headless:
                self._account.take(manifest.tree["spec"]["clusterIP"], entry)
            elif address.kind is not None:
                node_port = parse_count(self._account.read(entry["nodePort"]) or "")
                outside = node_port if address.kind == "nodePort" and node_port else number
                if outside is not None and (exposed is None or outside < exposed.port):
                    exposed = Exposure(kind=address.kind, port=outside, name=address.name)
                self._account.take(entry["port"])
            else:
                inside = inside or address.name
                if number == service.port:
                    self._account.take(entry["port"])
        return replace(service, name=inside or service.name, exposed=exposed, has_addresses_of_replicas=of_replicas)

    def _take_if(self, tree: Tree, value: str) -> None:
        """Take a field that says what Corral does anyway."""
        if tree.raw == value:
            self._account.take(tree)
