"""Causes of what kubelets, runtimes and programs report; each message is quoted from the report that is named.

The plane's own symptoms (scheduler, controllers, Kueue) are made for real in `tests/cluster/test_diagnosis.py`.
"""

# ruff: noqa: E501 - messages are quoted in whole lines

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corral.cluster import load
from corral.diagnosis.case import Case
from corral.diagnosis.diagnosing import DIAGNOSES, diagnose, list_pitfalls
from corral.diagnosis.values import Answers, ContainerKey, Finding, Printed
from corral.snapshot import Snapshot

_GPU = "nvidia.com/gpu"
_KEY = ContainerKey("ai", "program", "main")
_NFS = {"name": "models", "nfs": {"server": "10.0.0.9", "path": "/srv/models"}}
_REPOSITORY = Path(__file__).parents[3]


def _make_pod(
    *, spec: Mapping[str, Any] | None = None, status: Mapping[str, Any] | None = None, **container: Any
) -> Any:
    main = {"name": "main", "image": "example.org/program:1", **container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "program", "namespace": "ai", "uid": "pod"},
        "spec": {"nodeName": "alpha", "containers": [main], **(spec or {})},
        "status": {"phase": "Running", **(status or {})},
    }


def _make_node(name: str = "alpha", *, gpus: int = 1, labels: Mapping[str, str] | None = None, **status: Any) -> Any:
    offered = {"memory": "64Gi", **({_GPU: str(gpus)} if gpus else {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"node-{name}", "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {},
        "status": {
            "capacity": offered,
            "allocatable": offered,
            "nodeInfo": {"architecture": "arm64"},
            "conditions": [{"type": "Ready", "status": "True"}],
            **status,
        },
    }


def _make_event(reason: str, message: str, **about: str) -> Any:
    involved = {"kind": "Pod", "namespace": "ai", "name": "program", "uid": "pod", **about}
    metadata = {"name": reason.lower(), "namespace": "ai"}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata,
        "involvedObject": involved,
        "reason": reason,
        "message": message,
    }


def _wait(reason: str, message: str, **more: Any) -> dict[str, Any]:
    """A status whose container waits."""
    state = {"name": "main", "ready": False, "state": {"waiting": {"reason": reason, "message": message}}, **more}
    return {"phase": "Pending", "containerStatuses": [state]}


_LIMIT = {"resources": {"limits": {_GPU: "1"}}}


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """What a kubelet, a runtime or a program reported, and what it means."""

    pitfall: str
    words: tuple[str, ...]
    """In the cause, the evidence or the fix."""
    objects: tuple[Any, ...] = ()
    log: str = ""
    smi: Printed | None = None
    cluster: str = ""


_CLUSTER = """
apiVersion: corral/v1
name: lab
nodes:
  - {name: alpha, k3sRole: agent, address: 10.0.0.2, gpus: [{model: RTX 5070 Ti}, {model: RTX 3060 12GB}], labels: {hydra.io/role: both}}
  - {name: beta, k3sRole: server, address: 10.0.0.3, gpus: []}
"""

SYMPTOMS = (
    Symptom(  # https://github.com/NVIDIA/gpu-operator/issues/730
        pitfall="A18",
        words=("containerd of alpha has no runtime 'nvidia'", "event FailedCreatePodSandBox"),
        objects=(
            _make_pod(spec={"runtimeClassName": "nvidia"}, status={"phase": "Pending"}),
            _make_event(
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: "
                'no runtime for "nvidia" is configured',
            ),
        ),
    ),
    Symptom(  # https://github.com/NVIDIA/k8s-device-plugin/issues/1371
        pitfall="A16",
        words=("default runtime", "spec.runtimeClassName: not set", "--default-runtime=nvidia"),
        objects=(_make_pod(),),
        log="W0819 07:02:54.757556       1 rm.go:109] NVML not detected: could not load NVML library: libnvidia-ml.so.1: "
        "cannot open shared object file: No such file or directory",
    ),
    Symptom(  # the same line where the runtime class is set: nixpkgs#288037
        pitfall="F07",
        words=("does not find its program or the driver", "systemd.services.k3s.path"),
        objects=(_make_pod(spec={"runtimeClassName": "nvidia"}),),
        log="NVML not detected: could not load NVML library: libnvidia-ml.so.1: cannot open shared object file",
    ),
    Symptom(  # https://github.com/NVIDIA/nvidia-container-toolkit/issues/1239
        pitfall="F10",
        words=("GPU-e78e68c0-4e6a-737e-f9cc-4223fe50aead", "device-name-strategy"),
        objects=(
            _make_pod(),
            _make_event(
                "Failed",
                "Error: failed to create containerd task: failed to create shim task: OCI runtime create failed: could not "
                "apply required modification to OCI specification: error modifying OCI spec: failed to inject CDI devices: "
                "unresolvable CDI devices management.nvidia.com/gpu=GPU-e78e68c0-4e6a-737e-f9cc-4223fe50aead",
            ),
        ),
    ),
    Symptom(  # https://github.com/NVIDIA/nvidia-container-toolkit/issues/48
        pitfall="K18",
        words=("systemd was reloaded", "kubectl -n ai delete pod program"),
        objects=(_make_pod(**_LIMIT),),
        smi=Printed(exit_code=255, text="Failed to initialize NVML: Unknown Error\n"),
    ),
    Symptom(
        pitfall="K20",
        words=("No devices were found", "nvidia-smi in main"),
        objects=(_make_pod(**_LIMIT),),
        smi=Printed(exit_code=6, text="No devices were found\n"),
    ),
    Symptom(  # https://github.com/NVIDIA/k8s-device-plugin/issues/189
        pitfall="K19",
        words=("1 of its 2 GPUs", "Xid=69", "status.allocatable[nvidia.com/gpu]: 1"),
        objects=(_make_pod(), _make_node(capacity={_GPU: "2"})),
        log="2020/08/10 19:09:42 XidCriticalError: Xid=69 on Device=GPU-7540a9b3-eeb9-1214-1526-f93c9ea826a8, the device "
        "will go unhealthy.",
    ),
    Symptom(  # README of NVIDIA's k8s-device-plugin, "Shared Access to GPUs"
        pitfall="A37",
        words=("2 shares", "maximum request size for shared resources is 1"),
        objects=(
            _make_pod(
                status={
                    "phase": "Failed",
                    "reason": "UnexpectedAdmissionError",
                    "message": "Allocate failed due to rpc error: code = Unknown desc = request for 'nvidia.com/gpu: 2' too "
                    "large: maximum request size for shared resources is 1, which is unexpected",
                },
                resources={"limits": {_GPU: "2"}},
            ),
        ),
    ),
    Symptom(
        pitfall="A11",
        words=("RTX 5070 Ti, RTX 3060 12GB", "claim the model with DRA"),
        objects=(_make_pod(**_LIMIT), _make_node(gpus=2)),
        cluster=_CLUSTER,
    ),
    Symptom(
        pitfall="A12",
        words=("nvidia.com/gpu.product", "can name the other after a restart"),
        objects=(
            _make_node(gpus=2, labels={"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-3060"}),
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "program", "namespace": "ai"},
                "spec": {
                    "template": {"spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-5070-Ti"}}}
                },
            },
        ),
        cluster=_CLUSTER,
    ),
    Symptom(
        pitfall="F02",
        words=("hydra.io/has-3060=true", "kubectl label node alpha hydra.io/has-3060-"),
        objects=(_make_node(labels={"hydra.io/has-3060": "true"}),),
        cluster=_CLUSTER,
    ),
    Symptom(
        pitfall="K25",
        words=("hydra.io/role is 'not set', and 'both' in the cluster file",),
        objects=(_make_node(),),
        cluster=_CLUSTER,
    ),
    Symptom(pitfall="K24", words=("did not join",), objects=(_make_node(),), cluster=_CLUSTER),
    Symptom(  # https://github.com/kserve/kserve/issues/5062; the kubelet's own words
        pitfall="B03",
        words=("90 s to start", "startupProbe: not set"),
        objects=(
            _make_pod(livenessProbe={"initialDelaySeconds": 60, "periodSeconds": 10, "failureThreshold": 3}),
            _make_event(
                "Killing", "Container main failed liveness probe, will be restarted", fieldPath="spec.containers{main}"
            ),
        ),
    ),
    Symptom(  # https://github.com/kubernetes/kubernetes/issues/115469
        pitfall="B04",
        words=("waits one second", "livenessProbe.timeoutSeconds: 1"),
        objects=(
            _make_pod(livenessProbe={"timeoutSeconds": 1}),
            _make_event(
                "Unhealthy",
                'Liveness probe failed: Get "http://10.244.54.71:18051/healthcheck": context deadline exceeded '
                "(Client.Timeout exceeded while awaiting headers)",
            ),
        ),
    ),
    Symptom(  # https://github.com/ollama/ollama/issues/9781
        pitfall="B15",
        words=("curl, which its image does not have",),
        objects=(
            _make_pod(),
            _make_event(
                "Unhealthy",
                "Readiness probe errored: rpc error: code = Unknown desc = failed to exec in container: OCI runtime exec "
                'failed: exec failed: unable to start container process: exec: "curl": executable file not found in $PATH: '
                "unknown",
            ),
        ),
    ),
    Symptom(  # https://github.com/ollama/ollama/issues/3301
        pitfall="B08",
        words=("30 of the 81 layers", "corral fit"),
        objects=(_make_pod(),),
        log="Apr 19 16:54:30 quorra ollama[1180]: llm_load_tensors: offloaded 30/81 layers to GPU",
    ),
    Symptom(  # https://github.com/pytorch/pytorch/issues/16417, where several pods share a GPU: gpustack#3034
        pitfall="B09",
        words=("its GPU is shared", "nvidia.com/gpu.replicas]: 4"),
        objects=(_make_pod(**_LIMIT), _make_node(labels={"nvidia.com/gpu.replicas": "4"})),
        log="RuntimeError: CUDA out of memory. Tried to allocate 12.50 MiB (GPU 0; 10.92 GiB total capacity)",
    ),
    Symptom(
        pitfall="K14",
        words=("main needs more memory than its GPU has",),
        objects=(_make_pod(**_LIMIT), _make_node()),
        log="RuntimeError: CUDA out of memory. Tried to allocate 12.50 MiB (GPU 0; 10.92 GiB total capacity)",
    ),
    Symptom(  # https://github.com/pytorch/pytorch/issues/16979
        pitfall="A26",
        words=("/dev/shm has 64 MB", "medium: Memory"),
        objects=(_make_pod(),),
        log="ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
    ),
    Symptom(  # https://github.com/sgl-project/sglang/issues/4814
        pitfall="A27",
        words=("have no P2P", "NCCL_P2P_DISABLE]: not set"),
        objects=(_make_pod(resources={"limits": {_GPU: "2"}}),),
        log="RuntimeError: CUDART error: peer access is not supported between these two devices",
    ),
    Symptom(  # https://github.com/Comfy-Org/ComfyUI/issues/7779
        pitfall="A33",
        words=("example.org/program:1 has no kernels", "CUDA 12.8"),
        objects=(_make_pod(),),
        log="RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ),
    Symptom(  # https://github.com/KellerJordan/modded-nanogpt/issues/61
        pitfall="A10",
        words=("CUDA_VISIBLE_DEVICES is 1", "counted from 0"),
        objects=(_make_pod(env=[{"name": "CUDA_VISIBLE_DEVICES", "value": "1"}], **_LIMIT),),
        log="RuntimeError: CUDA error: invalid device ordinal",
    ),
    Symptom(
        pitfall="K05",
        words=("the device plugin is missing, or finds none", "status.allocatable[nvidia.com/gpu]: not set"),
        objects=(
            _make_pod(
                spec={"nodeName": ""},
                status={
                    "phase": "Pending",
                    "conditions": [
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                        }
                    ],
                },
                **_LIMIT,
            ),
            _make_node(gpus=0),
        ),
    ),
    Symptom(
        pitfall="A40",
        words=("another processor architecture", "status.nodeInfo.architecture: arm64"),
        objects=(_make_pod(), _make_node()),
        log="exec /usr/bin/program: exec format error",
    ),
    Symptom(
        pitfall="K15",
        words=("more memory than 24Gi",),
        objects=(
            _make_pod(
                resources={"limits": {"memory": "24Gi"}},
                status={
                    "containerStatuses": [
                        {
                            "name": "main",
                            "restartCount": 1,
                            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                        }
                    ]
                },
            ),
        ),
    ),
    Symptom(
        pitfall="K16",
        words=("ended 7 times, the last time with code 127: /start.sh: line 3: ollama: not found", "--previous"),
        objects=(
            _make_pod(
                status=_wait(
                    "CrashLoopBackOff", "back-off 5m0s", restartCount=7, lastState={"terminated": {"exitCode": 127}}
                )
            ),
        ),
        log="starting\n/start.sh: line 3: ollama: not found\n",
    ),
    Symptom(
        pitfall="K17",
        words=("does not answer", "kubectl delete node alpha"),
        objects=(
            _make_pod()
            | {"metadata": {"name": "program", "namespace": "ai", "deletionTimestamp": "2026-11-01T00:00:00Z"}},
            _make_node(
                conditions=[{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]
            ),
        ),
    ),
    Symptom(
        pitfall="K21",
        words=("does not report any more", "Kubelet stopped posting node status."),
        objects=(
            _make_node(
                conditions=[{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]
            ),
        ),
    ),
    Symptom(  # https://github.com/k3d-io/k3d/issues/130
        pitfall="K22",
        words=("evicts pods", "Wanted to free 9025121484 bytes, but freed 0 bytes"),
        objects=(
            _make_node(),
            _make_event(
                "ImageGCFailed",
                "failed to garbage collect required amount of images. Wanted to free 9025121484 bytes, but freed 0 bytes",
                kind="Node",
                name="alpha",
                uid="alpha",
            ),
        ),
    ),
    Symptom(
        pitfall="B12",
        words=("harvis-artifact-executor:latest is in no registry", "ctr images import"),
        objects=(
            _make_pod(
                image="harvis-artifact-executor:latest",
                imagePullPolicy="Always",
                status=_wait(
                    "ErrImagePull",
                    'failed to pull and unpack image "docker.io/library/harvis-artifact-executor:latest": failed to resolve '
                    "reference: pull access denied, repository does not exist or may require authorization: server message: "
                    "insufficient_scope: authorization failed",
                ),
            ),
        ),
    ),
    Symptom(
        pitfall="K13",
        words=("the registry has no ghcr.io/owner/backend:2",),
        objects=(
            _make_pod(
                image="ghcr.io/owner/backend:2",
                status=_wait("ImagePullBackOff", 'Back-off pulling image: "ghcr.io/owner/backend:2": not found'),
            ),
        ),
    ),
    Symptom(
        pitfall="K28",
        words=('secret "litellm-keys" not found', "create secret generic litellm-keys"),
        objects=(_make_pod(status=_wait("CreateContainerConfigError", 'secret "litellm-keys" not found')),),
    ),
    Symptom(  # the kubelet's words: pkg/kubelet/eviction
        pitfall="E05",
        words=("was evicted", 'exceeds the limit "50Gi"'),
        objects=(
            _make_pod(
                spec={"volumes": [{"name": "ml-models-cache", "emptyDir": {"sizeLimit": "50Gi"}}]},
                status={
                    "phase": "Failed",
                    "reason": "Evicted",
                    "message": 'Usage of EmptyDir volume "ml-models-cache" exceeds the limit "50Gi". ',
                },
            ),
        ),
    ),
    Symptom(
        pitfall="E07",
        words=("10.0.0.9:/srv/models", "emptyDir that an init container fills"),
        objects=(
            _make_pod(spec={"volumes": [_NFS]}),
            _make_event(
                "Unhealthy", 'Startup probe failed: Get "http://10.42.0.7:8000/docs": connect: connection refused'
            ),
        ),
    ),
    Symptom(  # https://github.com/kubernetes-retired/nfs-provisioner/issues/39
        pitfall="E08",
        words=("does not let root of this node change owners", "10.0.0.9:/srv/models"),
        objects=(_make_pod(spec={"volumes": [_NFS]}),),
        log="+ chown -R mysql:mysql /var/lib/mysql\nchown: changing ownership of '/var/lib/mysql/ibdata1': Operation not permitted",
    ),
    Symptom(  # https://github.com/ollama/ollama/issues/15547
        pitfall="E09",
        words=("its disk is full",),
        objects=(_make_pod(),),
        log="Error: selecting model: failed to pull gemma4: write /usr/share/ollama/.ollama/models/blobs/sha256-4c27e0f5b5ad-"
        "partial: no space left on device",
    ),
    Symptom(  # https://github.com/kubernetes-sigs/nfs-subdir-external-provisioner/issues/188
        pitfall="K12",
        words=("does not export the path to this node", "showmount -e"),
        objects=(
            _make_pod(spec={"volumes": [_NFS]}, status={"phase": "Pending"}),
            _make_event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "nfs-client-root" : mount failed: exit status 32\nMounting command: mount\n'
                "Output: mount.nfs: access denied by server while mounting 10.0.0.9:/srv/models",
            ),
        ),
    ),
    Symptom(
        pitfall="K08",
        words=("cannot resolve a host name", "get services"),
        objects=(_make_pod(),),
        log="httpx.ConnectError: [Errno -2] Name or service not known",
    ),
    Symptom(  # Kueue 0.19 on a cluster whose nodes publish no ResourceSlices
        pitfall="K29",
        words=("no node offers a device that its claim selects", "0 device(s) match"),
        objects=(
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "LocalQueue",
                "metadata": {"name": "gpu", "namespace": "ai"},
                "spec": {"clusterQueue": "gpu"},
            },
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "ClusterQueue",
                "metadata": {"name": "gpu"},
                "spec": {},
            },
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "Workload",
                "metadata": {"name": "comfyui", "namespace": "ai"},
                "spec": {"queueName": "gpu"},
                "status": {
                    "conditions": [
                        {
                            "type": "QuotaReserved",
                            "status": "False",
                            "reason": "Inadmissible",
                            "message": "spec.podSets[0].template.spec.resourceClaims[0].devices.requests[0].exactly.selectors: "
                            "Internal error: ResourceClaimTemplate comfyui-gpus: insufficient matching devices for CEL selector "
                            "in DeviceClass corral-gpu: 0 device(s) match in the cluster but 1 requested",
                        }
                    ]
                },
            },
        ),
    ),
)


@pytest.mark.parametrize("symptom", SYMPTOMS, ids=[symptom.pitfall for symptom in SYMPTOMS])
def test_symptom_has_its_cause_with_evidence_and_fix(symptom: Symptom) -> None:
    findings = [entry for entry in _diagnose(symptom) if entry.pitfall.id == symptom.pitfall]
    assert findings, [(entry.pitfall.id, entry.cause) for entry in _diagnose(symptom)]
    texts = [" | ".join([entry.cause, *map(str, entry.evidence), entry.fix]) for entry in findings]
    assert any(all(word in text for word in symptom.words) for text in texts), texts
    assert all(entry.evidence and entry.fix for entry in findings)


def _diagnose(symptom: Symptom) -> tuple[Finding, ...]:
    answers = Answers(
        logs={_KEY: symptom.log} if symptom.log else {}, gpus={_KEY: symptom.smi} if symptom.smi is not None else {}
    )
    cluster = load(symptom.cluster, filename="cluster.yaml") if symptom.cluster else None
    return diagnose(Case(snapshot=Snapshot.make(symptom.objects), answers=answers, cluster=cluster)).findings


def test_every_pitfall_of_the_table_has_a_test() -> None:
    on_the_plane = set(re.findall(r'check\(\s*"([A-K]\d\d)"', _read("tests/cluster/test_diagnosis.py")))
    assert {*on_the_plane, *(symptom.pitfall for symptom in SYMPTOMS)} >= {entry.pitfall.id for entry in DIAGNOSES}
    assert len(list_pitfalls()) >= 45


def _read(path: str) -> str:
    return (_REPOSITORY / path).read_text(encoding="utf-8")


def test_ids_of_pitfalls_are_unique_and_kinds_are_those_that_are_read() -> None:
    named = [(entry.pitfall.id, entry.function.__name__) for entry in DIAGNOSES]
    assert len({id for id, _ in named}) == len(named)
