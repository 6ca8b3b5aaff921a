"""Symptoms of machines, images, containers, volumes and probes; each message is quoted from the report that is named."""

# ruff: noqa: E501 - messages are quoted in whole lines

from __future__ import annotations

from doubles.symptoms import CLUSTER, NFS, Symptom, make_event, make_node, make_pod, wait

SYMPTOMS = (
    Symptom(
        pitfall="F02",
        words=("hydra.io/has-3060=true", "kubectl label node alpha hydra.io/has-3060-"),
        objects=(make_node(labels={"hydra.io/has-3060": "true"}),),
        cluster=CLUSTER,
    ),
    Symptom(
        pitfall="K25",
        words=("hydra.io/role is 'not set', and 'both' in the cluster file",),
        objects=(make_node(),),
        cluster=CLUSTER,
    ),
    Symptom(pitfall="K24", words=("did not join",), objects=(make_node(),), cluster=CLUSTER),
    Symptom(  # https://github.com/kserve/kserve/issues/5062; the kubelet's own words
        pitfall="B03",
        words=("90 s to start", "startupProbe: not set"),
        objects=(
            make_pod(livenessProbe={"initialDelaySeconds": 60, "periodSeconds": 10, "failureThreshold": 3}),
            make_event(
                "Killing", "Container main failed liveness probe, will be restarted", fieldPath="spec.containers{main}"
            ),
        ),
    ),
    Symptom(  # https://github.com/kubernetes/kubernetes/issues/115469
        pitfall="B04",
        words=("waits one second", "livenessProbe.timeoutSeconds: 1"),
        objects=(
            make_pod(livenessProbe={"timeoutSeconds": 1}),
            make_event(
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
            make_pod(),
            make_event(
                "Unhealthy",
                "Readiness probe errored: rpc error: code = Unknown desc = failed to exec in container: OCI runtime exec "
                'failed: exec failed: unable to start container process: exec: "curl": executable file not found in $PATH: '
                "unknown",
            ),
        ),
    ),
    Symptom(  # https://github.com/pytorch/pytorch/issues/16979
        pitfall="A26",
        words=("/dev/shm has 64 MB", "medium: Memory"),
        objects=(make_pod(),),
        log="ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
    ),
    Symptom(
        pitfall="A40",
        words=("another processor architecture", "status.nodeInfo.architecture: arm64"),
        objects=(make_pod(), make_node()),
        log="exec /usr/bin/program: exec format error",
    ),
    Symptom(
        pitfall="K15",
        words=("more memory than 24Gi",),
        objects=(
            make_pod(
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
            make_pod(
                status=wait(
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
            make_pod()
            | {"metadata": {"name": "program", "namespace": "ai", "deletionTimestamp": "2026-11-01T00:00:00Z"}},
            make_node(
                conditions=[{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]
            ),
        ),
    ),
    Symptom(
        pitfall="K21",
        words=("does not report any more", "Kubelet stopped posting node status."),
        objects=(
            make_node(
                conditions=[{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]
            ),
        ),
    ),
    Symptom(  # https://github.com/k3d-io/k3d/issues/130
        pitfall="K22",
        words=("evicts pods", "Wanted to free 9025121484 bytes, but freed 0 bytes"),
        objects=(
            make_node(),
            make_event(
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
            make_pod(
                image="harvis-artifact-executor:latest",
                imagePullPolicy="Always",
                status=wait(
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
            make_pod(
                image="ghcr.io/owner/backend:2",
                status=wait("ImagePullBackOff", 'Back-off pulling image: "ghcr.io/owner/backend:2": not found'),
            ),
        ),
    ),
    Symptom(
        pitfall="K28",
        words=('secret "litellm-keys" not found', "create secret generic litellm-keys"),
        objects=(make_pod(status=wait("CreateContainerConfigError", 'secret "litellm-keys" not found')),),
    ),
    Symptom(  # the kubelet's words: pkg/kubelet/eviction
        pitfall="E05",
        words=("was evicted", 'exceeds the limit "50Gi"'),
        objects=(
            make_pod(
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
            make_pod(spec={"volumes": [NFS]}),
            make_event(
                "Unhealthy", 'Startup probe failed: Get "http://10.42.0.7:8000/docs": connect: connection refused'
            ),
        ),
    ),
    Symptom(  # https://github.com/kubernetes-retired/nfs-provisioner/issues/39
        pitfall="E08",
        words=("does not let root of this node change owners", "10.0.0.9:/srv/models"),
        objects=(make_pod(spec={"volumes": [NFS]}),),
        log="+ chown -R mysql:mysql /var/lib/mysql\nchown: changing ownership of '/var/lib/mysql/ibdata1': Operation not permitted",
    ),
    Symptom(  # https://github.com/ollama/ollama/issues/15547
        pitfall="E09",
        words=("its disk is full",),
        objects=(make_pod(),),
        log="Error: selecting model: failed to pull gemma4: write /usr/share/ollama/.ollama/models/blobs/sha256-4c27e0f5b5ad-"
        "partial: no space left on device",
    ),
    Symptom(  # https://github.com/kubernetes-sigs/nfs-subdir-external-provisioner/issues/188
        pitfall="K12",
        words=("does not export the path to this node", "showmount -e"),
        objects=(
            make_pod(spec={"volumes": [NFS]}, status={"phase": "Pending"}),
            make_event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "nfs-client-root" : mount failed: exit status 32\nMounting command: mount\n'
                "Output: mount.nfs: access denied by server while mounting 10.0.0.9:/srv/models",
            ),
        ),
    ),
    Symptom(
        pitfall="K08",
        words=("cannot resolve a host name", "get services"),
        objects=(make_pod(),),
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
