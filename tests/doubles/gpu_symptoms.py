"""Symptoms of GPUs: their drivers, device plugins, libraries and memory; each message is quoted from the report that is named."""

# ruff: noqa: E501 - messages are quoted in whole lines

from __future__ import annotations

from corral.diagnosis.values import Printed
from doubles.symptoms import CLUSTER, GPU, LIMIT, Symptom, make_event, make_node, make_pod

SYMPTOMS = (
    Symptom(  # https://github.com/NVIDIA/gpu-operator/issues/730
        pitfall="A18",
        words=("containerd of alpha has no runtime 'nvidia'", "event FailedCreatePodSandBox"),
        objects=(
            make_pod(spec={"runtimeClassName": "nvidia"}, status={"phase": "Pending"}),
            make_event(
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: "
                'no runtime for "nvidia" is configured',
            ),
        ),
    ),
    Symptom(  # https://github.com/NVIDIA/k8s-device-plugin/issues/1371
        pitfall="A16",
        words=("default runtime", "spec.runtimeClassName: not set", "--default-runtime=nvidia"),
        objects=(make_pod(),),
        log="W0819 07:02:54.757556       1 rm.go:109] NVML not detected: could not load NVML library: libnvidia-ml.so.1: "
        "cannot open shared object file: No such file or directory",
    ),
    Symptom(  # the same line where the runtime class is set: nixpkgs#288037
        pitfall="F07",
        words=("does not find its program or the driver", "systemd.services.k3s.path"),
        objects=(make_pod(spec={"runtimeClassName": "nvidia"}),),
        log="NVML not detected: could not load NVML library: libnvidia-ml.so.1: cannot open shared object file",
    ),
    Symptom(  # https://github.com/NVIDIA/nvidia-container-toolkit/issues/1239
        pitfall="F10",
        words=("GPU-e78e68c0-4e6a-737e-f9cc-4223fe50aead", "device-name-strategy"),
        objects=(
            make_pod(),
            make_event(
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
        objects=(make_pod(**LIMIT),),
        smi=Printed(exit_code=255, text="Failed to initialize NVML: Unknown Error\n"),
    ),
    Symptom(
        pitfall="K20",
        words=("No devices were found", "nvidia-smi in main"),
        objects=(make_pod(**LIMIT),),
        smi=Printed(exit_code=6, text="No devices were found\n"),
    ),
    Symptom(  # https://github.com/NVIDIA/k8s-device-plugin/issues/189
        pitfall="K19",
        words=("1 of its 2 GPUs", "Xid=69", "status.allocatable[nvidia.com/gpu]: 1"),
        objects=(make_pod(), make_node(capacity={GPU: "2"})),
        log="2020/08/10 19:09:42 XidCriticalError: Xid=69 on Device=GPU-7540a9b3-eeb9-1214-1526-f93c9ea826a8, the device "
        "will go unhealthy.",
    ),
    Symptom(  # README of NVIDIA's k8s-device-plugin, "Shared Access to GPUs"
        pitfall="A37",
        words=("2 shares", "maximum request size for shared resources is 1"),
        objects=(
            make_pod(
                status={
                    "phase": "Failed",
                    "reason": "UnexpectedAdmissionError",
                    "message": "Allocate failed due to rpc error: code = Unknown desc = request for 'nvidia.com/gpu: 2' too "
                    "large: maximum request size for shared resources is 1, which is unexpected",
                },
                resources={"limits": {GPU: "2"}},
            ),
        ),
    ),
    Symptom(
        pitfall="A11",
        words=("RTX 5070 Ti, RTX 3060 12GB", "claim the model with DRA"),
        objects=(make_pod(**LIMIT), make_node(gpus=2)),
        cluster=CLUSTER,
    ),
    Symptom(
        pitfall="A12",
        words=("nvidia.com/gpu.product", "can name the other after a restart"),
        objects=(
            make_node(gpus=2, labels={"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-3060"}),
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "program", "namespace": "ai"},
                "spec": {
                    "template": {"spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-5070-Ti"}}}
                },
            },
        ),
        cluster=CLUSTER,
    ),
    Symptom(  # https://github.com/ollama/ollama/issues/3301
        pitfall="B08",
        words=("30 of the 81 layers", "corral fit"),
        objects=(make_pod(),),
        log="Apr 19 16:54:30 quorra ollama[1180]: llm_load_tensors: offloaded 30/81 layers to GPU",
    ),
    Symptom(  # https://github.com/pytorch/pytorch/issues/16417, where several pods share a GPU: gpustack#3034
        pitfall="B09",
        words=("its GPU is shared", "nvidia.com/gpu.replicas]: 4"),
        objects=(make_pod(**LIMIT), make_node(labels={"nvidia.com/gpu.replicas": "4"})),
        log="RuntimeError: CUDA out of memory. Tried to allocate 12.50 MiB (GPU 0; 10.92 GiB total capacity)",
    ),
    Symptom(
        pitfall="K14",
        words=("main needs more memory than its GPU has",),
        objects=(make_pod(**LIMIT), make_node()),
        log="RuntimeError: CUDA out of memory. Tried to allocate 12.50 MiB (GPU 0; 10.92 GiB total capacity)",
    ),
    Symptom(  # https://github.com/sgl-project/sglang/issues/4814
        pitfall="A27",
        words=("have no P2P", "NCCL_P2P_DISABLE]: not set"),
        objects=(make_pod(resources={"limits": {GPU: "2"}}),),
        log="RuntimeError: CUDART error: peer access is not supported between these two devices",
    ),
    Symptom(  # https://github.com/Comfy-Org/ComfyUI/issues/7779
        pitfall="A33",
        words=("example.org/program:1 has no kernels", "CUDA 12.8"),
        objects=(make_pod(),),
        log="RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ),
    Symptom(  # https://github.com/KellerJordan/modded-nanogpt/issues/61
        pitfall="A10",
        words=("CUDA_VISIBLE_DEVICES is 1", "counted from 0"),
        objects=(make_pod(env=[{"name": "CUDA_VISIBLE_DEVICES", "value": "1"}], **LIMIT),),
        log="RuntimeError: CUDA error: invalid device ordinal",
    ),
    Symptom(
        pitfall="K05",
        words=("the device plugin is missing, or finds none", "status.allocatable[nvidia.com/gpu]: not set"),
        objects=(
            make_pod(
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
                **LIMIT,
            ),
            make_node(gpus=0),
        ),
    ),
)
