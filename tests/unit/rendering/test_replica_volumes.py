"""One service on several nodes: each replica has a volume of its own, on the disk of its node."""

from __future__ import annotations

from doubles.rendered_clusters import Json, objects

NODES: list[Json] = [{"name": name, "gpus": [{"model": "RTX 4090"}]} for name in ("one", "two")]
MODELS: Json = {"name": "models", "kind": "local", "size": "200Gi"}
OLLAMA: Json = {"name": "ollama", "engines": ["ollama"], "gpus": 1, "replicas": 2, "storage": ["models"]}
TRAINING: Json = {"name": "lora", "engines": ["trainer"], "image": "lora:1", "gpus": 1}


def test_replicas_on_two_nodes_get_a_claim_each_and_one_service_is_over_both() -> None:
    parts: Json = {"nodes": NODES, "services": [OLLAMA], "storage": [MODELS]}
    spec = objects("StatefulSet", **parts)["ollama"]["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert (claim["metadata"]["name"], claim["spec"]["accessModes"]) == ("models", ["ReadWriteOnce"])
    assert "namespace" not in claim["metadata"]
    assert objects("PersistentVolumeClaim", **parts) == {}
    pod = spec["template"]["spec"]
    assert "models" not in {volume["name"] for volume in pod.get("volumes", ())}
    assert "models" in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert "kubernetes.io/hostname" not in pod.get("nodeSelector", {})
    assert any(service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
               for service in objects("Service", **parts).values())  # fmt: skip


def test_a_replica_that_is_lent_has_a_claim_of_its_own() -> None:
    art = OLLAMA | {"name": "art", "engines": ["comfyui"], "image": "art:1"}
    parts: Json = {"nodes": NODES, "services": [art, TRAINING], "storage": [MODELS]}
    names = {"models-art-0", "models-art-1"}
    assert objects("PersistentVolumeClaim", **parts).keys() == names
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for deployment in objects("Deployment", **parts).values()
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == names


def test_a_volume_of_a_node_is_one_for_all_as_before() -> None:
    ollama = OLLAMA | {"replicas": 1}
    parts: Json = {"nodes": NODES, "services": [ollama], "storage": [MODELS | {"node": "one"}]}
    assert objects("PersistentVolumeClaim", **parts).keys() == {"models"}
    assert "volumeClaimTemplates" not in objects("StatefulSet", **parts)["ollama"]["spec"]
