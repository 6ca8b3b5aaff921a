"""Causes of the symptoms that a real API server, scheduler, controllers and Kueue show.

What kubelets and programs report is in `tests/unit/diagnosis`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.plane import Plane
from control_plane.scenes import GPU, HOST, OWN_LABEL, PATHS, Scene
from corral.cluster import load


async def test_pods_that_wait_are_explained_by_selectors_taints_and_gpus(scene: Scene) -> None:
    scene.add_node("plain", resources={GPU: "2"})
    scene.add_node("tainted", resources={GPU: "1"}, taints=[{"key": GPU, "value": "true", "effect": "NoSchedule"}])
    scene.add_node("shared", labels={"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090-SHARED"})
    scene.add_node("other-name", resources={f"{GPU}-all": "1"})
    closed = scene.add_node("closed")
    pods: Mapping[str, dict[str, Any]] = {
        "too-many": scene.spec(gpus=16),
        "untolerated": scene.spec(scene.name("tainted"), gpus=1),
        "elsewhere": scene.spec(nodeSelector={HOST: "pop-os"}),
        "unlabelled": scene.spec(nodeSelector={"role": "inference"}),
        "product": scene.spec(nodeSelector={"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090"}),
        "all-gpus": scene.spec(scene.name("other-name"), gpus=1),
        "hungry": scene.spec(container={"resources": {"requests": {"memory": "900Gi"}}}),
        "affine": scene.spec(
            affinity={
                "podAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": GPU}
                    ]
                }
            }
        ),
    }
    for name, spec in pods.items():
        scene.create_pod(name, spec)
    scene.plane.ask(
        "PATCH", f"/api/v1/nodes/{closed}", {"spec": {"unschedulable": True}}, "application/merge-patch+json"
    )
    scene.create_pod("for-closed", scene.spec(closed))
    findings = await scene.diagnose(
        ("A06", "too-many", "16 GPUs", "has 2", "Insufficient nvidia.com/gpu"),
        ("A19", "untolerated", f"{GPU}=true:NoSchedule", "untolerated taint", "tolerations: [{key: nvidia.com/gpu"),
        ("A20", "elsewhere", "pop-os", scene.name("plain"), "didn't match Pod's node affinity/selector"),
        ("K01", "unlabelled", "role=inference", "no such label", "kubectl label node NAME role=inference"),
        ("A13", "product", "-SHARED"),
        ("F09", "all-gpus", "nvidia.com/gpu-all"),
        ("K03", "hungry", "Insufficient memory", "main: 900Gi"),
        ("A01", "affine", "topologyKey nvidia.com/gpu"),
        ("K23", closed, f"kubectl uncordon {closed}"),
    )
    causes = {name: findings.list_about(name) - {"A26"} for name in pods}  # that is about the shared memory of 16 GPUs
    assert all(len(ids) == 1 for ids in causes.values()), causes


async def test_workloads_that_share_gpus_are_explained(scene: Scene) -> None:
    rollout, pinned, full = (scene.add_node(name, resources={GPU: "1"}) for name in ("rollout", "pinned", "full"))
    preempting = scene.add_node("preempting", resources={GPU: "1"})
    twice = scene.add_node("twice", resources={GPU: "1"}, capacity={GPU: "2"})
    small = scene.add_node("small", resources={"memory": "8Gi"})
    scene.create_deployment("rollout", scene.spec(rollout, gpus=1))
    scene.create_deployment("pinned", scene.spec(gpus=1, nodeSelector={HOST: pinned}), replicas=2)
    scene.create_deployment("served", scene.spec(full, gpus=1), replicas=2)
    scene.create_deployment("victim", scene.spec(preempting, gpus=1))
    scene.create_pod(
        "large",
        scene.spec(small, container={"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "48Gi"}}}),
    )
    spec = {
        "driver": "gpu.nvidia.com",
        "nodeName": twice,
        "pool": {"name": twice, "generation": 1, "resourceSliceCount": 1},
    }
    broken = {"name": "gpu-1", "taints": [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoSchedule"}]}
    scene.create("ResourceSlice", scene.name("slice"), spec={**spec, "devices": [broken]})
    scene.create(
        "DeviceClass",
        scene.name("gpu"),
        spec={"selectors": [{"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}]},
    )
    request = {"name": "gpu", "exactly": {"deviceClassName": scene.name("gpu")}}
    scene.create("ResourceClaim", "lost", spec={"devices": {"requests": [request]}})
    claims = [{"name": "gpu", "resourceClaimName": "lost"}]
    scene.create_pod(
        "claimant", scene.spec(twice, resourceClaims=claims, container={"resources": {"claims": [{"name": "gpu"}]}})
    )
    # The same deadlock where GPUs are claimed: the scheduler allocates the only device to the pod that would go next.
    claimed = scene.add_node("claimed")
    pool = {"name": claimed, "generation": 1, "resourceSliceCount": 1}
    only = {"driver": f"{scene.suffix}.example.org", "nodeName": claimed, "pool": pool, "devices": [{"name": "gpu-0"}]}
    scene.create("ResourceSlice", scene.name("only"), spec=only)
    selector = {"cel": {"expression": f"device.driver == '{scene.suffix}.example.org'"}}
    scene.create("DeviceClass", scene.name("only"), spec={"selectors": [selector]})
    wanted = {"name": "gpu", "exactly": {"deviceClassName": scene.name("only")}}
    scene.create("ResourceClaimTemplate", "gpu", spec={"spec": {"devices": {"requests": [wanted]}}})
    claims = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    uses = {"resources": {"claims": [{"name": "gpu"}]}}
    scene.create_deployment("claiming", scene.spec(claimed, resourceClaims=claims, container=uses))
    scene.wait_for_binding("app=rollout")
    scene.wait_for_binding("app=claiming")
    scene.wait_for_binding("app=victim")
    newer = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example.org/program:2"}]}}}}
    path = PATHS["Deployment"].format(scene.namespace)
    for name in ("rollout", "claiming"):
        scene.plane.ask("PATCH", f"{path}/{name}", newer, "application/strategic-merge-patch+json")
    scene.create("PriorityClass", scene.name("batch"), value=1000)
    scene.create_pod("important", scene.spec(preempting, gpus=1, priorityClassName=scene.name("batch")))
    await scene.diagnose(
        ("A02", "rollout", "maxSurge 25%", "Insufficient nvidia.com/gpu", '{"type":"Recreate"'),
        ("A02", "claiming", "cannot allocate all claims"),
        ("A07", "pinned", "want 2 GPUs, and it has 1"),
        ("A35", "served", "all 1 GPUs", "taken by 1 pods"),
        ("A23", "victim", "Preempted", "priorityClassName: not set"),
        ("A25", small, "48.0 GiB", "8.0 GiB"),
        ("A32", twice, "1 devices of gpu.nvidia.com"),
        ("K04", "claimant", "gpu.nvidia.com/xid=79:NoSchedule", "status.allocation: not set"),
        ("K19", twice, "1 of its 2 GPUs"),
        ("K19", scene.name("slice")),
    )


async def test_services_and_their_addresses_are_explained(scene: Scene, plane: Plane) -> None:
    other = f"{scene.namespace}-other"
    plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    scene.made.append(f"/api/v1/namespaces/{other}")
    node = scene.add_node("web")
    port = {"port": 8188, "targetPort": 8188}
    scene.create_deployment("comfyui", scene.spec(node, container={"ports": [{"name": "web", "containerPort": 8188}]}))
    scene.create("Service", "comfyui-lb", namespace=other, spec={"selector": {"app": "comfyui"}, "ports": [port]})
    scene.create(
        "Service", "comfyui", spec={"selector": {"app": "comfyui"}, "ports": [{"port": 80, "targetPort": "http"}]}
    )
    scene.create(
        "ConfigMap", "backend", data={"OLLAMA_URL": "http://harvis-ai-ollama:11434", "SELF": "http://comfyui:80"}
    )
    scene.create_deployment(
        "backend",
        scene.spec(
            node,
            container={
                "envFrom": [{"configMapRef": {"name": "backend"}}],
                "env": [
                    {"name": "BACKEND_URL", "value": f"http://harvis-ai-backend-workstation.{scene.namespace}:8000/"}
                ],
            },
        ),
    )
    for name in ("first", "second"):
        scene.create("Service", name, spec={"type": "LoadBalancer", "selector": {"app": "comfyui"}, "ports": [port]})
        spec = scene.spec(node, container={"ports": [{"containerPort": 8188, "hostPort": 8188}]})
        scene.create_pod(f"svclb-{name}", spec, labels={"svccontroller.k3s.cattle.io/svcname": name})
    for name, labels in (("svclb", {"svccontroller.k3s.cattle.io/svcname": "first"}), ("speaker", {"app": "metallb"})):
        template = {"metadata": {"labels": {"app": name}}, "spec": scene.spec("no-node")}
        scene.create(
            "DaemonSet", name, labels=labels, spec={"selector": {"matchLabels": {"app": name}}, "template": template}
        )
    peers = [{"namespaceSelector": {"matchLabels": {"name": "ai-agents"}}}]
    scene.create("NetworkPolicy", "closed", spec={"podSelector": {}, "ingress": [{"from": peers}]})
    cluster = load(_HARVIS, filename="cluster.yaml")
    await scene.diagnose(
        ("D01", "comfyui-lb", f"in the namespace '{scene.namespace}'", "endpoints: 0, 0 of them ready"),
        ("D05", "backend", "data[OLLAMA_URL]: http://harvis-ai-ollama:11434", "harvis-ai-ollama object: not there"),
        ("D06", "backend", "BACKEND_URL", "layout 'workstation'"),
        ("D07", "svclb-", "port 8188", "didn't have free ports"),
        ("D08", "speaker", "--disable=servicelb"),
        ("D10", "closed", "kubernetes.io/metadata.name: ai-agents"),
        ("K06", "comfyui", "is not ready"),
        ("K07", "comfyui", "'http'", "web"),
        cluster=cluster,
        others=(other,),
    )


_HARVIS = """
apiVersion: corral/v1
name: harvis
nodes:
  - {name: pop-os, gpus: [{model: RTX 4090}]}
services:
  - {name: backend, port: 8000, image: "harvis-backend:1.0"}
layouts:
  edge: {services: {backend: {name: harvis-ai-merged-backend, node: pop-os}}}
  workstation: {services: {backend: {name: harvis-ai-backend-workstation, node: pop-os}}}
"""


async def test_volumes_are_explained(scene: Scene, plane: Plane) -> None:
    other = f"{scene.namespace}-other"
    plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    scene.made.append(f"/api/v1/namespaces/{other}")
    first, second = scene.add_node("first"), scene.add_node("second")
    volume = scene.name("models")
    term = {"matchExpressions": [{"key": HOST, "operator": "In", "values": [first]}]}
    scene.create(
        "PersistentVolume",
        volume,
        spec={
            "capacity": {"storage": "50Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "local": {"path": "/srv/models"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            "claimRef": {"namespace": scene.namespace, "name": "models"},
        },
    )
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}}
    scene.create("PersistentVolumeClaim", "models", spec={**claim, "storageClassName": "", "volumeName": volume})
    scene.create("PersistentVolumeClaim", "artifacts", namespace=other, spec=claim)
    scene.create("PersistentVolumeClaim", "unknown-class", spec={**claim, "storageClassName": scene.name("nvme")})

    def mount(name: str) -> list[dict[str, Any]]:
        return [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]

    scene.create_pod("edge", scene.spec(nodeSelector={HOST: first}, volumes=mount("models")))
    scene.create_pod("workstation", scene.spec(nodeSelector={HOST: second}, volumes=mount("models")))
    scene.create_pod("executor", scene.spec(first, volumes=mount("artifacts")))
    scene.create_pod("typo", scene.spec(first, volumes=mount("modles")))
    await scene.diagnose(
        ("E01", "workstation", f"is on {first}", f"runs on {second}", "didn't match PersistentVolume's node affinity"),
        ("E02", "models", first, second, "ReadWriteOnce"),
        ("E04", "executor", f"'{other}'", 'persistentvolumeclaim "artifacts" not found'),
        ("K10", "typo", "modles does not exist"),
        ("K11", "unknown-class", f"no StorageClass '{scene.name('nvme')}'", "not found"),
        others=(other,),
    )


async def test_refused_pods_and_blocked_drains_are_explained(scene: Scene, plane: Plane) -> None:
    node = scene.add_node("drained")
    enforce = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    secure = f"{scene.namespace}-secure"
    plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": secure, **enforce["metadata"]}})
    scene.made.append(f"/api/v1/namespaces/{secure}")
    scene.create_deployment("insecure", scene.spec(node), namespace=secure)
    scene.create_deployment("classless", scene.spec(node, runtimeClassName=scene.name("nvidia")))
    scene.create_deployment("accountless", scene.spec(node, serviceAccountName="nobodys"))
    scene.create_deployment("kept", scene.spec(node))
    selector = {"matchLabels": {"app": "kept"}}
    scene.create("PodDisruptionBudget", "kept", spec={"minAvailable": 1, "selector": selector})
    metric = {"metric": {"name": "queue_depth"}, "target": {"type": "Value", "value": "5"}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kept"}
    scene.create(
        "HorizontalPodAutoscaler",
        "kept",
        spec={"scaleTargetRef": target, "maxReplicas": 2, "metrics": [{"type": "External", "external": metric}]},
    )
    [pod] = scene.wait_for_binding("app=kept")
    scene.set_ready(pod)
    scene.plane.ask("PATCH", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}}, "application/merge-patch+json")
    await scene.diagnose(
        ("G06", "insecure", "'restricted'", "seccompProfile", "metadata.labels[pod-security.kubernetes.io/enforce]"),
        ("A17", "classless", f"no RuntimeClass '{scene.name('nvidia')}'", "FailedCreate"),
        ("K27", "accountless", "create serviceaccount nobodys"),
        ("A24", "kept", pod, "disruptionsAllowed: 0"),
        ("G07", "kept", "External", "external metric"),
        others=(secure,),
    )


async def test_work_in_queues_is_explained(scene: Scene) -> None:
    single = scene.add_node("single", resources={GPU: "1"}, labels={"gpu-model": scene.name("one")})
    flavors = {"real": {"gpu-model": scene.name("one")}, "unreal": {"gpu-model": scene.name("h100")}}
    tolerations = [{"key": OWN_LABEL, "operator": "Equal", "value": scene.suffix}]
    for name, labels in flavors.items():
        scene.create("ResourceFlavor", scene.name(name), spec={"nodeLabels": labels, "tolerations": tolerations})
    for name, flavor, quota in (("two", "real", 2), ("none", "real", 0), ("wrong", "unreal", 2), ("held", "real", 2)):
        resource = {"name": GPU, "nominalQuota": quota}
        group = {"coveredResources": [GPU], "flavors": [{"name": scene.name(flavor), "resources": [resource]}]}
        stop = {"stopPolicy": "Hold"} if name == "held" else {}
        scene.create(
            "ClusterQueue", scene.name(name), spec={"namespaceSelector": {}, "resourceGroups": [group], **stop}
        )
        scene.create("LocalQueue", name, spec={"clusterQueue": scene.name(name)})
    scene.create("LocalQueue", "old", spec={"clusterQueue": scene.name("absent")}, version="v1beta1")
    scene.create_deployment("serving", scene.spec(single, gpus=1))
    scene.wait_for_binding("app=serving")
    scene.create_job("unqueued", scene.spec(single, gpus=1))
    scene.create_job("unreal-quota", scene.spec(gpus=1), queue="two")
    scene.create_job(
        "no-cpu", scene.spec(container={"resources": {"requests": {"cpu": "1"}, "limits": {GPU: "1"}}}), queue="two"
    )
    scene.create_job("gang", scene.spec(gpus=1), queue="two", parallelism=4, completions=4)
    scene.create_job("training", scene.spec(gpus=1), queue="none")
    scene.create_job("unknown-flavor", scene.spec(gpus=1), queue="wrong")
    scene.create_job("stopped", scene.spec(gpus=1), queue="held")
    scene.create_job("lost", scene.spec(gpus=1), queue="no-such-queue")
    await scene.diagnose(
        ("H01", "unqueued", "queue-name]: not set", "spec.clusterQueue"),
        ("H02", "job-no-cpu", "cpu", "has nvidia.com/gpu alone"),
        ("H03", "unreal-quota", "Deployment serving", "nominalQuota[nvidia.com/gpu]: 2"),
        ("H04", "unknown-flavor", f"gpu-model={scene.name('h100')}"),
        ("H05", "job-gang", "maximum capacity (2)"),
        ("H05", "job-training", "maximum capacity (0)", "Deployment serving always runs"),
        ("H06", "old", "v1beta1"),
        ("K02", "unqueued", "waits for a GPU that serving-"),
        ("K26", "job-stopped", "spec.stopPolicy: Hold"),
        ("K26", "job-lost", "no LocalQueue"),
    )


async def test_healthy_cluster_has_no_findings(scene: Scene) -> None:
    node = scene.add_node("healthy", resources={GPU: "2"})
    scene.create_deployment(
        "ollama", scene.spec(node, gpus=1, container={"ports": [{"name": "http", "containerPort": 11434}]})
    )
    scene.create(
        "Service", "ollama", spec={"selector": {"app": "ollama"}, "ports": [{"port": 11434, "targetPort": "http"}]}
    )
    url = {"name": "OLLAMA_URL", "value": "http://ollama:11434"}
    elsewhere = {"name": "HF_ENDPOINT", "value": "https://huggingface.co"}
    scene.create_deployment("backend", scene.spec(node, gpus=1, container={"env": [url, elsewhere]}), replicas=1)
    scene.create_deployment("asleep", scene.spec(node, gpus=1), replicas=0)
    scene.create("Service", "asleep", spec={"selector": {"app": "asleep"}, "ports": [{"port": 80}]})
    for pod in (*scene.wait_for_binding("app=ollama"), *scene.wait_for_binding("app=backend")):
        scene.set_ready(pod)
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{scene.namespace}/endpointslices"
    scene.wait_until(slices, lambda answer: any(len(entry.get("endpoints") or ()) == 1 for entry in answer["items"]))
    findings = await scene.diagnose()
    assert [(entry.pitfall.id, str(entry.subject), entry.cause) for entry in findings.all] == []
