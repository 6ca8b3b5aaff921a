"""The inputs of a `job` task, and the engine's options in the cluster file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, cast

from pydantic import Field

from corral.engines.command.inputs import Text, VariableName
from corral.engines.schema import EngineInputs, EngineOptions

ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
"""The name of an object of Kubernetes, a DNS subdomain (Kubernetes documentation, object names)."""
Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$")]
"""`16Gi`, as Kubernetes writes it."""
CONTAINER = "work"
"""The container of the task's image in each pod."""
DELIVERY_IMAGE = "curlimages/curl:8.10.1"
MOUNT = "/corral"
"""The folder of an attempt in its pods: `inputs` and `outputs` below it."""


class Volume(EngineInputs):
    """A claim that the pods mount."""

    claim: ObjectName = Field(description="A PersistentVolumeClaim of the queue's namespace.")
    path: Text = Field(min_length=1, description="Where the pods see it: `/models`.")
    sub_path: str | None = Field(None, description="The only folder of it that they see.")
    read_only: bool = Field(False, description="Whether they can only read it.")


class JobInputs(EngineInputs):
    """Inputs of `job`; the task's files are in `/corral/inputs`, and its outputs are written to `/corral/outputs`."""

    image: str = Field(
        min_length=1, max_length=1000, pattern=r"^\S+$", description="The image, with its tag or digest."
    )
    command: list[Text] | None = Field(None, max_length=1000, description="Instead of the image's own entry point.")
    args: list[Text] | None = Field(None, max_length=1000, description="Arguments of the command or entry point.")
    env: dict[VariableName, Text] = Field(default_factory=dict[str, str], max_length=200, description="Variables.")
    gpus: int = Field(1, ge=0, le=64, description="GPUs of each pod.")
    pods: int = Field(
        1,
        ge=1,
        le=64,
        description="Pods that start together; each finds its number in `NODE_RANK`, the first in `MASTER_ADDR`.",
    )
    node: ObjectName | None = Field(
        None, description="The node that the pods run on, such as one whose GPUs are tested; any node when left out."
    )
    cpus: float = Field(1, gt=0, le=1024, description="Processor cores that each pod asks for.")
    memory: Quantity = Field("4Gi", description="Main memory of each pod; more ends it.")
    shared_memory: Quantity = Field("1Gi", description="Size of `/dev/shm`, which counts as memory of the pod.")
    volumes: list[Volume] = Field(default_factory=list[Volume], max_length=20, description="Claims to mount.")
    outputs: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
        default_factory=list[str],
        max_length=100,
        description="Files to keep, as glob patterns below `/corral/outputs`: `*.safetensors`; each must match a file.",
    )

    @classmethod
    def list_conflicts(cls, given: Mapping[str, Any]) -> Iterable[str]:  # Any: JSON from the user
        """Report paths that leave the outputs' folder, and mounts at the folder of the attempt."""
        patterns = given.get("outputs")
        for pattern in cast("list[object]", patterns) if isinstance(patterns, list) else ():
            parts = PurePosixPath(pattern) if isinstance(pattern, str) else PurePosixPath()
            if parts.is_absolute() or ".." in parts.parts:
                yield f"'outputs' holds {pattern!r}, but it must be relative to {MOUNT}/outputs and stay inside"
        volumes = given.get("volumes")
        paths: list[str] = []
        for volume in cast("list[object]", volumes) if isinstance(volumes, list) else ():
            path = cast("dict[str, object]", volume).get("path") if isinstance(volume, dict) else None
            if not isinstance(path, str):
                continue
            if not PurePosixPath(path).is_absolute():
                yield f"'volumes' mounts at {path!r}, which is not an absolute path"
            elif PurePosixPath(path).is_relative_to(MOUNT) or path in ("/", "/dev/shm", *paths):
                yield f"'volumes' mounts at {path!r}, where something else is mounted"
            paths.append(path)


class JobOptions(EngineOptions):
    """Options of `job` in the cluster file."""

    context: str | None = Field(None, description="The context of the kubeconfig. Default: the current one.")
    shared_folder: str | None = Field(
        None,
        pattern="^/",
        description="A folder of this machine whose content the pods see through `sharedClaim`: files of tasks and "
        "their outputs pass through it.",
    )
    shared_claim: ObjectName | None = Field(
        None, description="The PersistentVolumeClaim of the queue's namespace that is `sharedFolder`."
    )
    server_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+$",
        description="Where pods reach this server, `http://corral.ai:7433`: without a shared folder, files of tasks "
        "and their outputs are fetched and delivered there, by a token that is good for one attempt.",
    )
    delivery_image: str = Field(
        DELIVERY_IMAGE,
        min_length=1,
        pattern=r"^\S+$",
        description="An image with `sh`, `find` and `curl` 7.87 or newer, which fetches and delivers them.",
    )
    runtime_class: ObjectName | None = Field(
        None, description="The pods' RuntimeClass: `nvidia` on K3s whose default runtime is not NVIDIA's."
    )
    gpu_resource: str = Field("nvidia.com/gpu", pattern=r"^[^/\s]+/[^/\s]+$", description="The resource of GPUs.")
    priority_class: ObjectName | None = Field(
        None,
        description="Kueue's WorkloadPriorityClass of every Job. Default: `corral-batch` where the cluster has it, as "
        "rendered queues do.",
    )
    image_pull_secret: ObjectName | None = Field(None, description="The Secret with which images are pulled.")
    keep: str = Field("1h", description="How long a Job and its log stay on the cluster after their end: `1h`.")
