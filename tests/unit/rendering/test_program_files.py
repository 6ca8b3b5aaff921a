"""What programs are told in Kubernetes: files, caches, secrets; and what starts pods anew."""

from __future__ import annotations

from typing import Any

import yaml

from corral import __version__
from corral.operations.cluster_file import read_cluster
from corral.rendering.targets import render_cluster

HEAD = "apiVersion: corral/v1\nname: told\nnodes: [{name: one, gpus: [{model: RTX 4090}]}]\n"


def objects_of(body: str, workload: str) -> dict[str, dict[str, Any]]:
    text = HEAD + body
    files = render_cluster(
        read_cluster(text, name="c.yaml").cluster, source="c.yaml", text=text, only=["kubernetes"]
    ).files
    documents = yaml.safe_load_all(files[f"kubernetes/overlays/all/{workload}.yaml"])
    return {f"{document['kind']} {document['metadata']['name']}": document for document in documents}


def container_of(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    workload = next(document for document in objects.values() if document["kind"] in ("Deployment", "StatefulSet"))
    return workload["spec"]["template"]["spec"]["containers"][0]


ROUTER = """\
services:
  - {name: ollama, engines: [ollama], gpus: 1, models: ["llama3:8b"]}
  - {name: router, kind: litellm, routes: [{name: far, model: openai/gpt-4, keyFrom: KEY}]}
"""


def test_litellm_reads_a_folder_and_its_keys_from_a_secret() -> None:
    objects = objects_of(ROUTER, "router")
    assert yaml.safe_load(objects["ConfigMap router-files"]["data"]["config.yaml"])["model_list"]
    container = container_of(objects)
    assert container["args"] == ["--config", "/etc/litellm/config.yaml", "--port", "4000"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert "subPath" not in mounts["/etc/litellm"]
    secrets = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in container["env"]
        if "valueFrom" in variable
    }
    assert secrets["LITELLM_MASTER_KEY"]["name"] == "router"
    assert set(secrets) == {"LITELLM_MASTER_KEY", "KEY"}


def test_a_pod_starts_anew_when_its_file_changes_and_not_when_only_the_cluster_file_does() -> None:
    def digest(body: str) -> str:
        template = objects_of(body, "router")["Deployment router"]["spec"]["template"]
        return template["metadata"]["annotations"]["corral.dev/config-digest"]

    assert digest(ROUTER) == digest(ROUTER + "# a comment\n")
    assert digest(ROUTER) != digest(ROUTER.replace("llama3:8b", "llama3:latest"))


def test_nginx_is_started_with_its_file() -> None:
    body = 'services: [{name: b, image: "b:1", port: 8000}, {name: page, kind: nginx, calls: [b]}]\n'
    objects = objects_of(body, "page")
    assert "proxy_pass http://b:8000;" in objects["ConfigMap page-files"]["data"]["nginx.conf"]
    assert container_of(objects)["command"] == ["nginx", "-c", "/etc/corral/nginx.conf", "-g", "daemon off;"]


VOICE = """\
storage: [{name: cache, kind: ephemeral}]
services:
  - name: voice
    image: "v:1"
    engines: [whisper, chatterbox]
    gpus: 1
    storage: [cache]
    mounts: {cache: /cache}
    models: [ResembleAI/chatterbox]
    env: {UVICORN_WORKERS: "4", TORCH_HOME: /elsewhere}
"""


def test_models_of_speech_are_kept_on_the_volume_unless_the_file_says_otherwise() -> None:
    settings = objects_of(VOICE, "voice")["ConfigMap voice-config"]["data"]
    assert (settings["HF_HOME"], settings["XDG_CACHE_HOME"]) == ("/cache/huggingface", "/cache/cache")
    assert settings["TORCH_HOME"] == "/elsewhere"


def test_one_process_loads_the_models_of_a_card() -> None:
    assert objects_of(VOICE, "voice")["ConfigMap voice-config"]["data"]["UVICORN_WORKERS"] == "1"


def test_a_volume_that_is_empty_at_the_start_is_filled_first() -> None:
    workload = objects_of(VOICE, "voice")["Deployment voice"]["spec"]["template"]["spec"]
    (first,) = workload["initContainers"]
    assert first["image"] == "v:1"
    assert first["command"][2].endswith(" ResembleAI/chatterbox\n")
    assert {"name": "HF_HOME", "value": "/cache/huggingface"} in first["env"]
    assert first["volumeMounts"][0]["mountPath"] == "/cache"


BACKEND = """\
storage: [{name: models, kind: ephemeral, size: 20Gi}]
services:
  - {name: ollama, engines: [ollama], gpus: 1}
  - name: voice
    engines: [whisper, kokoro]
    storage: [models]
    models: [whisper-base, kokoro-82m-int8]
    calls: [ollama]
"""


def test_speech_without_an_image_is_corrals_own_filled_with_models_of_its_catalogue() -> None:
    objects = objects_of(BACKEND, "voice")
    workload = next(document for document in objects.values() if document["kind"] == "StatefulSet")
    pod = workload["spec"]["template"]["spec"]
    (pull,), (container,) = pod["initContainers"], pod["containers"]

    assert pull["image"] == container["image"] == f"corral:{__version__}"
    assert pull["command"][2] == "set -eu\ncorral models pull whisper-base\ncorral models pull kokoro-82m-int8\n"
    assert {"name": "CORRAL_DATA_DIR", "value": "/models"} in pull["env"]
    assert pull["volumeMounts"][0]["mountPath"] == container["volumeMounts"][0]["mountPath"] == "/models"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["ports"][0]["containerPort"] == 7433
    settings = objects["ConfigMap voice-config"]["data"]
    assert (settings["CORRAL_DATA_DIR"], settings["OLLAMA_URL"]) == ("/models", "http://ollama:11434")
    assert "command" not in container, "the image starts a voice backend by itself"


def test_image_of_ones_own_is_not_taken_for_corrals() -> None:
    body = 'services: [{name: voice, engines: [whisper], image: "w:1", port: 9000}]\n'
    container = container_of(objects_of(body, "voice"))

    assert (container["image"], container["ports"][0]["containerPort"]) == ("w:1", 9000)
    assert "httpGet" not in container["readinessProbe"]


def test_each_replica_that_keeps_state_is_called_by_its_own_address() -> None:
    body = """\
services:
  - {name: comfyui, engines: [comfyui], image: "c:1", replicas: 2, gpus: 1}
  - {name: page, image: "p:1", port: 80, calls: [comfyui]}
"""
    settings = objects_of(body, "page")["ConfigMap page-config"]["data"]
    assert settings["COMFYUI_URL"] == "http://comfyui-0:8188"
    assert settings["COMFYUI_URLS"] == "http://comfyui-0:8188,http://comfyui-1:8188"
