"""Cluster files made of manifests, Compose projects and pages: what they say, and what they leave out, by place."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.operations.cluster_file import read_cluster
from corral.operations.placing import find_places
from corral.planning.placement.planner import plan_layout
from corral.rendering.targets import render_cluster
from doubles.clusters import open_cluster
from doubles.imports import CASES, differences_of, gaps_of, import_case, import_texts, read_file, service_of

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_page_of_hydra_gives_its_comfyui_with_the_address_that_people_use() -> None:
    answer = import_case("hydra", models={"hydra-compute": ("RTX 5070 Ti", "RTX 5070 Ti")})

    file = read_file(answer)
    assert file["nodes"] == [
        {
            "name": "hydra-compute",
            "gpus": [{"model": "RTX 5070 Ti", "index": 0}, {"model": "RTX 5070 Ti", "index": 1}],
        }
    ]
    assert service_of(answer, "comfyui") == {
        "name": "comfyui",
        "engines": ["comfyui"],
        "image": "ghcr.io/ai-dock/comfyui:latest",
        "port": 8188,
        "replicas": 2,
        "gpus": 1,
        "exposed": {"kind": "loadBalancer", "port": 8188, "name": "comfyui-lb"},
        "memory": {"request": "16Gi", "limit": "24Gi"},
    }
    assert answer.problems == ()


def test_parts_of_a_page_that_are_no_objects_are_listed_by_their_lines() -> None:
    assert [gap.split(" ")[0] for gap in gaps_of(import_case("hydra"))] == [
        "page.md:6",  # labels of no node
        "page.md:12",  # Nix
        "page.md:16",  # a profile of the document's own
        "page.md:54",  # the Service names no namespace
    ]


def test_what_rendering_changes_is_named() -> None:
    """Two ComfyUI behind one address lose each other's results, so Corral gives each its own."""
    assert differences_of(import_case("hydra")) == ["comfyui addresses: one for all replicas -> one for each replica"]


def test_a_model_that_nothing_names_is_a_comment_and_the_plan_asks_for_it() -> None:
    text = import_case("hydra").text

    assert "- {index: 0} # left open: model; `--gpu hydra-compute=MODEL` names it" in text
    cluster = read_cluster(text, name="cluster.yaml").cluster
    cautions = plan_layout(cluster, cluster.layouts["imported"], {}).cautions
    unknown = [caution.where for caution in cautions if "VRAM of the GPU is unknown" in caution.what]
    assert unknown == ["hydra-compute/gpu0", "hydra-compute/gpu1"]


def test_containers_of_a_pod_become_services_that_share_it() -> None:
    answer = import_case("pods")

    assert read_file(answer)["layouts"]["imported"]["services"] == {
        "ollama": {"node": "pop-os", "pod": "merged-ollama-backend"},
        "backend": {"node": "pop-os", "pod": "merged-ollama-backend", "configMap": "harvis-ai-backend-config"},
    }
    backend = service_of(answer, "backend")
    assert backend["calls"] == ["ollama"]
    assert backend["env"] == {"WHISPER_MODEL": "small"}, "OLLAMA_URL follows from `calls` and the pod"
    assert backend["secrets"] == {"HF_TOKEN": {"secret": "hugging-face", "key": "token"}}
    assert backend["command"] == ["python", "-m", "backend"]


def test_a_node_has_the_gpus_of_its_labels_and_a_claim_the_volume_behind_it() -> None:
    file = read_file(import_case("pods"))

    assert file["nodes"] == [
        {
            "name": "pop-os",
            "address": "10.0.0.4",
            "os": "pop-os",
            "k3sRole": "agent",
            "memory": "64Gi",
            "gpus": [{"model": "RTX 4090", "index": 0}],
            "labels": {"example.org/rack": "2"},
        }
    ]
    assert file["storage"] == [
        {"name": "ollama-model-cache", "kind": "local", "node": "pop-os", "path": "/srv/ollama", "size": "200Gi"},
        {"name": "scratch", "kind": "ephemeral", "size": "50Gi"},
    ]


def test_every_field_of_a_pod_that_the_file_cannot_say_is_listed_and_nothing_else_differs() -> None:
    answer = import_case("pods")

    assert gaps_of(answer) == [
        "edge.yaml:54 Deployment ai-agents/merged-ollama-backend spec.template.spec.hostIPC: 'true'",
        "edge.yaml:69 Deployment ai-agents/merged-ollama-backend spec.template.spec.containers[backend].env[POD]",
        "edge.yaml:70 Deployment ai-agents/merged-ollama-backend spec.template.spec.containers[backend]"
        ".readinessProbe.periodSeconds: '5'",
        "edge.yaml:84 DaemonSet ai-agents/watcher: it is not imported",
    ]
    assert differences_of(answer) == []


def test_a_compose_project_becomes_the_services_of_a_machine_with_its_gpus_and_volumes() -> None:
    answer = import_case("compose", machine="desk", models={"desk": ("RTX 4090",)})

    file = read_file(answer)
    assert file["nodes"] == [{"name": "desk", "gpus": [{"model": "RTX 4090", "index": 0}]}]
    assert file["storage"][1:] == [
        {"name": "webui-data", "kind": "local", "node": "desk", "path": "/srv/app/webui"},
        {
            "name": "shared",
            "kind": "nfs",
            "server": "nas.example.org",
            "path": "/export/models",
            "mountOptions": ["nfsvers=4.2", "hard"],
        },
    ]
    assert file["layouts"]["imported"]["services"]["ollama"] == {"node": "desk", "gpus": [0]}
    assert service_of(answer, "ollama")["memory"] == {"limit": "24Gi"}, "Docker's `24g` is binary"
    assert service_of(answer, "webui")["calls"] == ["ollama"]
    assert service_of(answer, "webui")["healthPath"] == "/health"


def test_no_secret_of_the_input_is_in_the_file_or_the_report() -> None:
    answer = import_case("compose")

    assert service_of(answer, "webui")["secrets"] == {
        "WEBUI_SECRET_KEY": {"secret": "webui", "key": "WEBUI_SECRET_KEY"}
    }
    assert service_of(answer, "trainer")["secrets"] == {"HF_TOKEN": {"secret": "trainer", "key": "HF_TOKEN"}}
    assert "hf_abc" not in repr(answer)


def test_what_compose_says_and_a_cluster_file_does_not_is_listed() -> None:
    answer = import_case("compose")

    assert gaps_of(answer) == [
        "compose.yaml:14 service webui ports[0]: '127.0.0.1:3000:8080'",
        "compose.yaml:21 service webui volumes[2]",
        "compose.yaml:22 service webui depends_on[0]: 'ollama'",
        "compose.yaml:26 service trainer build: './trainer'",
        "compose.yaml:27 service trainer command",
        "compose.yaml:28 service trainer HF_TOKEN: a secret in the open; set it in .env or a Secret trainer",
    ]
    assert differences_of(answer) == ["trainer service: a service -> it names no image"]


@pytest.mark.parametrize(
    ("label", "model"),
    [
        ("nvidia.com/gpu.product: NVIDIA-GeForce-RTX-3090-Ti", "RTX 3090 Ti"),
        ("nvidia.com/gpu.product: NVIDIA-GeForce-RTX-3090-Ti-SHARED", "RTX 3090 Ti"),
        ("hydra.io/gpu-class: 5070ti", "RTX 5070 Ti"),
        ("hydra.io/gpu-class: something", None),
    ],
)
def test_labels_name_the_model_of_a_node(label: str, model: str | None) -> None:
    node = f"apiVersion: v1\nkind: Node\nmetadata: {{name: box, labels: {{{label}, nvidia.com/gpu.count: '2'}}}}\n"

    gpus = read_file(import_texts({"nodes.yaml": node}))["nodes"][0]["gpus"]

    assert [gpu.get("model") for gpu in gpus] == [model, model]


@pytest.mark.parametrize(
    ("name", "model"), [("rtx-4090-box", "RTX 4090"), ("node-5070ti", "RTX 5070 Ti"), ("n2024", None)]
)
def test_the_name_of_a_machine_can_name_its_gpu(name: str, model: str | None) -> None:
    text = "services: {ollama: {image: 'ollama/ollama:0.17.4', gpus: all}}".replace("gpus: all", _ONE_GPU)

    gpus = read_file(import_texts({"compose.yaml": text}, machine=name))["nodes"][0]["gpus"]

    assert [gpu.get("model") for gpu in gpus] == [model]


_ONE_GPU = "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]}}}"


def test_services_of_one_machine_share_the_first_gpu_as_docker_gives_it_to_them() -> None:
    services = "".join(f"  {name}: {{image: 'example.org/{name}:1', {_ONE_GPU}}}\n" for name in ("a", "b"))

    answer = import_texts({"compose.yaml": f"services:\n{services}"}, machine="desk")

    assert len(read_file(answer)["nodes"][0]["gpus"]) == 1
    assert differences_of(answer) == []


def test_a_second_object_of_a_name_and_a_second_service_of_one_are_listed() -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: 'example.org/a:1'}]}\n"

    answer = import_texts({"a.yaml": pod, "b.yaml": pod, "compose.yaml": "services: {a: {image: 'example.org/a:2'}}"})

    assert service_of(answer, "a")["image"] == "example.org/a:1"
    assert [gap.split(" ")[0] for gap in gaps_of(answer)] == ["b.yaml:1", "compose.yaml:1"]


@pytest.mark.parametrize(("example", "layout"), [("hydra", "pool"), ("harvis", "workstation"), ("harvis", "edge")])
def test_what_corral_rendered_comes_out_the_same_when_imported_and_rendered_again(example: str, layout: str) -> None:
    opened = open_cluster(EXAMPLES / example / "cluster.yaml")
    files = render_cluster(
        opened.cluster,
        source="cluster.yaml",
        text=opened.text,
        layouts=[layout],
        only=["kubernetes"],
        find_places=find_places,
    ).files
    texts = {
        path: text
        for path, text in files.items()
        if path.endswith(".yaml") and ("/base/" in path or "/overlays/" in path)
    }

    answer = import_texts(texts)

    running = {service["name"] for service in read_file(answer)["services"] if service.get("replicas") != 0}
    assert [line for line in differences_of(answer) if line.split(" ")[0] in running] == []
    assert answer.problems == ()


def test_a_list_of_models_becomes_a_litellm_and_the_ollama_behind_it() -> None:
    answer = import_case("harvis")

    assert read_file(answer)["services"] == [
        {"name": "harvis-ai-ollama-workstation", "engines": ["ollama"], "models": ["deepseek-r1:70b"], "port": 11434},
        {
            "name": "litellm",
            "kind": "litellm",
            "calls": ["harvis-ai-ollama-workstation"],
            "routes": [{"name": "gpt-4", "model": "openai/gpt-4", "keyFrom": "OPENAI_API_KEY"}],
        },
    ]
    assert [gap.split(" ")[0] for gap in gaps_of(answer)] == ["page.md:5", "page.md:9"]
    assert differences_of(answer) == ["litellm models.deepseek-r1: ollama/deepseek-r1:70b -> nothing"]


def test_models_go_to_the_server_that_the_input_deploys() -> None:
    text = (CASES / "pods" / "edge.yaml").read_text(encoding="utf-8")
    models = (
        "model_list:\n"
        "  - {model_name: llama3, litellm_params: {model: ollama/llama3, api_base: 'http://ollama.ai-agents:11434'}}\n"
    )

    answer = import_texts({"edge.yaml": text, "litellm.yaml": models})

    assert service_of(answer, "ollama")["models"] == ["llama3"]
    assert service_of(answer, "ollama")["image"] == "ollama/ollama:0.17.4"
    assert service_of(answer, "litellm")["calls"] == ["ollama"]


STATEFUL = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ollama, namespace: ai}
spec:
  replicas: COUNT
  selector: {matchLabels: {app: ollama}}
  template:
    metadata: {labels: {app: ollama}}
    spec:
      containers:
        - name: ollama
          image: ollama/ollama:0.17.4
          ports: [{containerPort: 11434}]
          volumeMounts: [{name: models, mountPath: /root/.ollama}]
  volumeClaimTemplates:
    - metadata: {name: models}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 50Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: ollama-service, namespace: ai}
spec: {selector: {app: ollama}, ports: [{port: 11434}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: ai}
spec:
  containers:
    - name: web
      image: example.org/web:1
      env: [{name: OLLAMA, value: "http://ollama-service.ai.svc.cluster.local:11434"}]
      args: ["--api-key=abcdefghijklmnop"]
"""


def test_a_volume_that_a_statefulset_makes_keeps_the_name_of_its_claim() -> None:
    answer = import_texts({"all.yaml": STATEFUL.replace("COUNT", "1")})

    assert read_file(answer)["storage"] == [
        {"name": "models-ollama-0", "kind": "local", "node": "local", "size": "50Gi"}
    ]
    assert "- name: local # left open: the machine's name" in answer.text
    assert any("the place of the claim models-ollama-0 is not in the input" in gap for gap in gaps_of(answer))


def test_volumes_of_several_replicas_are_listed_and_not_joined_to_one() -> None:
    answer = import_texts({"all.yaml": STATEFUL.replace("COUNT", "2")})

    assert "storage" not in read_file(answer)
    assert any("a volume for each of several replicas is not imported" in gap for gap in gaps_of(answer))


def test_a_service_is_named_after_its_address_and_calls_are_seen_by_its_long_name_too() -> None:
    answer = import_texts({"all.yaml": STATEFUL.replace("COUNT", "1")})

    assert service_of(answer, "ollama-service")["engines"] == ["ollama"]
    assert service_of(answer, "web")["calls"] == ["ollama-service"]


def test_a_flag_with_a_secret_is_listed_without_it() -> None:
    answer = import_texts({"all.yaml": STATEFUL.replace("COUNT", "1")})

    assert "all.yaml:32 Pod ai/web spec.containers[web].args[0]" in gaps_of(answer)
    assert "abcdefghijklmnop" not in repr(answer)


def test_files_of_variables_that_are_not_in_the_input_are_listed() -> None:
    text = "services: {web: {image: 'example.org/web:1', env_file: [one.env, two.env]}}\n"

    answer = import_texts({"compose.yaml": text, "one.env": "SIZE=3\n"})

    assert service_of(answer, "web")["env"] == {"SIZE": "3"}
    assert gaps_of(answer) == ["compose.yaml:1 service web env_file[1]: 'two.env'"]


@pytest.mark.parametrize("head", ["", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"])
def test_a_kustomization_is_named_with_what_to_import_instead(head: str) -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: 'example.org/a:1'}]}\n"

    answer = import_texts({"k/kustomization.yaml": f"{head}resources: [a.yaml]\nnamePrefix: x-\n", "k/a.yaml": pod})

    assert gaps_of(answer) == [
        "k/kustomization.yaml:1 a kustomization is not applied: import what `kubectl kustomize` prints"
    ]
