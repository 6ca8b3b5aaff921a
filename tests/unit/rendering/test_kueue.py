"""Kueue's objects, by the field names of v1beta2 (Kueue's API reference): lightkube has no models of them."""

from __future__ import annotations

import yaml

from doubles.rendered_clusters import Json, objects, rendered

IMAGE = "registry.local/it:1.0"
QUEUES = [{"name": "night"}]
FIELDS = {
    "ResourceFlavor": {"nodeLabels", "nodeTaints", "tolerations", "topologyName"},
    "ClusterQueue": {
        "cohortName", "namespaceSelector", "queueingStrategy", "resourceGroups", "preemption", "flavorFungibility",
        "fairSharing", "admissionChecksStrategy", "admissionScope", "stopPolicy",
    },
    "LocalQueue": {"clusterQueue", "fairSharing", "stopPolicy"},
}  # fmt: skip


def test_every_field_is_one_of_v1beta2() -> None:
    files = rendered("kueue", queues=QUEUES, services=[{"name": "job", "kind": "job", "image": IMAGE}])
    for item in yaml.safe_load_all(files["kueue/all/queues.yaml"]):
        assert item["apiVersion"] == "kueue.x-k8s.io/v1beta2"
        assert set(item.get("spec", {})) <= FIELDS.get(item["kind"], set())


def test_quota_is_what_the_pool_has_less_what_always_runs() -> None:
    services = [{"name": "voice", "gpus": 1, "image": IMAGE, "node": "one"}]
    queue = objects("ClusterQueue", "kueue", queues=QUEUES, services=services)["yard-night"]
    resources = queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    assert {resource["name"]: resource["nominalQuota"] for resource in resources}["nvidia.com/gpu"] == "1"
    assert queue["spec"]["resourceGroups"][0]["coveredResources"] == ["cpu", "memory", "nvidia.com/gpu"]


def test_claims_are_counted_by_the_class_that_pods_name() -> None:
    nodes = [{"name": "one", "gpus": [{"model": "RTX 5090"}, {"model": "RTX 4090"}]}]
    by_claim = {"gpuMode": "dra"}
    files = rendered("kueue", nodes=nodes, queues=QUEUES, kubernetes=by_claim)
    settings = yaml.safe_load(files["kueue/all/configuration.yaml"])
    mapping = {"name": "nvidia.com/gpu", "deviceClassNames": ["corral-gpu"]}
    assert settings["resources"]["deviceClassMappings"] == [mapping]
    assert settings["waitForPodsReady"] == {"timeout": "30m"}  # `enable` is gone in v1beta2


def gpus_of(queue: Json) -> dict[str, tuple[str, str | None]]:
    """For each flavour of a ClusterQueue: its quota of GPUs, and how many it may borrow."""
    quotas: dict[str, tuple[str, str | None]] = {}
    for flavor in queue["spec"]["resourceGroups"][0]["flavors"]:
        gpus = next(resource for resource in flavor["resources"] if resource["name"] == "nvidia.com/gpu")
        quotas[flavor["name"]] = (gpus["nominalQuota"], gpus.get("borrowingLimit"))
    return quotas


def test_a_queue_gives_out_no_card_outside_its_pool() -> None:
    queues = objects("ClusterQueue", "kueue", queues=[{"name": "only-one", "pool": ["one/gpu0"]}])
    assert gpus_of(queues["yard-only-one"]) == {"yard-one": ("1", "0")}
    assert gpus_of(queues["yard-default"]) == {"yard-one": ("0", "1"), "yard-two": ("1", "0")}
    assert {queue["spec"]["cohortName"] for queue in queues.values()} == {"yard"}


def test_cards_alike_are_one_flavour_unless_a_queue_tells_their_nodes_apart() -> None:
    assert set(objects("ResourceFlavor", "kueue", queues=QUEUES)) == {"yard-4090"}
    apart = [{"name": "default", "pool": ["one"]}, {"name": "other", "pool": ["two/gpu0"]}]
    assert set(objects("ResourceFlavor", "kueue", queues=apart)) == {"yard-one", "yard-two"}
    queues = objects("ClusterQueue", "kueue", queues=apart)
    assert gpus_of(queues["yard-default"]) == {"yard-one": ("1", None)}
    assert gpus_of(queues["yard-other"]) == {"yard-two": ("1", None)}
    assert not any("cohortName" in queue["spec"] for queue in queues.values())


def test_queues_of_one_pool_share_a_cluster_queue() -> None:
    names = [{"name": "default"}, {"name": "night"}]
    assert set(objects("ClusterQueue", "kueue", queues=names)) == {"yard-default"}
    # Not `default`: Kueue would put every service of the namespace into that one.
    assert set(objects("LocalQueue", "kueue", queues=names)) == {"corral-default", "night"}


def test_what_services_keep_is_taken_from_the_widest_queue_first() -> None:
    nodes = [{"name": "one", "gpus": [{"model": "RTX 4090"}] * 2}]
    services = [{"name": "voice", "gpus": 1, "image": IMAGE}]
    parts = {"nodes": nodes, "services": services, "queues": [{"name": "narrow", "pool": ["one/gpu0"]}]}
    queues = objects("ClusterQueue", "kueue", **parts)
    assert gpus_of(queues["yard-narrow"]) == {"yard-4090": ("1", "0")}
    assert gpus_of(queues["yard-default"]) == {"yard-4090": ("0", "2")}


def job_on(node: str, nodes: list[Json], gpus: int) -> Json:
    """A Job that is bound to one of these nodes."""
    job = {"name": "lora", "kind": "job", "image": IMAGE, "gpus": gpus, "node": node}
    return objects("Job", nodes=nodes, queues=QUEUES, services=[job])["lora"]


def test_a_job_of_a_node_is_let_in_on_its_cards_and_not_on_those_of_another() -> None:
    """Kueue compares labels of flavours alone (`flavorSelector` in its flavour assigner)."""
    nodes = [{"name": "one", "gpus": [{"model": "RTX 4090"}]}, {"name": "two", "gpus": [{"model": "RTX 3090"}]}]
    wanted = job_on("two", nodes, 1)["spec"]["template"]["spec"]["nodeSelector"]
    assert wanted == {"kubernetes.io/hostname": "two", "corral.dev/gpu-class": "3090"}
    flavors = objects("ResourceFlavor", "kueue", nodes=nodes, queues=QUEUES)
    fitting = [name for name, flavor in flavors.items() if flavor["spec"]["nodeLabels"].items() <= wanted.items()]
    assert fitting == ["yard-3090"]


def test_a_job_where_no_queue_has_cards_waits_in_none() -> None:
    without: list[Json] = [{"name": "one", "gpus": [{"model": "RTX 4090"}]}, {"name": "two", "gpus": []}]
    for nodes in (without, without[1:]):
        labels = job_on("two", nodes, 0)["metadata"]["labels"]
        assert "kueue.x-k8s.io/queue-name" not in labels


def test_a_class_that_the_file_gives_by_hand_is_not_contradicted() -> None:
    nodes = [{"name": "one", "gpus": [{"model": "RTX 4090"}], "labels": {"corral.dev/gpu-class": "fast"}}]
    flavors = objects("ResourceFlavor", "kueue", nodes=nodes, queues=QUEUES)
    assert [flavor["spec"]["nodeLabels"] for flavor in flavors.values()] == [{"kubernetes.io/hostname": "one"}]


CARDS = [{"name": "one", "gpus": [{"model": "RTX 4090"}] * 2}]
ART: Json = {"name": "art", "engines": ["comfyui"], "image": IMAGE, "gpus": 1, "replicas": 2, "node": "one"}
LORA: Json = {"name": "lora", "engines": ["trainer"], "image": IMAGE, "gpus": 2, "node": "one"}


def test_what_the_queue_drives_lends_its_cards_to_jobs_one_replica_at_a_time() -> None:
    """On a real Kueue 0.19.2 a Job for one card ends one of these two, and a StatefulSet of two would end whole."""
    parts: Json = {"nodes": CARDS, "services": [ART, LORA], "queues": [{"name": "pool", "pool": ["one"]}]}
    deployments = objects("Deployment", "kubernetes", "kueue", **parts)
    assert deployments.keys() == {"art-0", "art-1"}
    assert objects("StatefulSet", "kubernetes", **parts) == {}
    labels = deployments["art-1"]["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] in objects("LocalQueue", "kubernetes", "kueue", **parts)
    priorities = objects("WorkloadPriorityClass", "kubernetes", "kueue", **parts)
    lora = objects("Job", "kubernetes", **parts)["lora"]["metadata"]["labels"]["kueue.x-k8s.io/priority-class"]
    assert priorities[labels["kueue.x-k8s.io/priority-class"]]["value"] < priorities[lora]["value"]
    # Training for both cards can be admitted: what is lent is in the quota.
    assert gpus_of(objects("ClusterQueue", "kueue", **parts)["yard-pool"]) == {"yard-4090": ("2", None)}


def test_each_lent_replica_has_an_address_a_folder_and_one_service_is_over_all() -> None:
    storage = [{"name": "results", "kind": "local", "node": "one"}]
    art = ART | {"storage": ["results"], "mounts": {"results": "/opt/ComfyUI/output"}}
    parts: Json = {"nodes": CARDS, "services": [art, LORA], "storage": storage}
    services = objects("Service", **parts)
    for number in ("0", "1"):
        pods = objects("Deployment", **parts)[f"art-{number}"]["spec"]["template"]
        mounted = {mount["name"]: mount for mount in pods["spec"]["containers"][0]["volumeMounts"]}
        assert mounted["results"]["subPath"] == f"art-{number}"
        for name in ("art-replicas", f"art-{number}"):
            assert services[name]["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
    other = objects("Deployment", **parts)["art-1"]["spec"]["template"]["metadata"]["labels"]
    assert not services["art-0"]["spec"]["selector"].items() <= other.items()


def test_a_service_keeps_its_cards_where_it_says_so_where_no_job_wants_them_and_where_it_shares_a_pod() -> None:
    kept = objects("StatefulSet", nodes=CARDS, services=[ART | {"lends": False}, LORA])
    alone = objects("StatefulSet", nodes=CARDS, services=[ART])
    voice = {"name": "voice", "image": IMAGE, "port": 80}
    layouts = {"edge": {"services": {"art": {"pod": "both"}, "voice": {"pod": "both"}}}}
    shared = objects("StatefulSet", nodes=CARDS, services=[ART | {"replicas": 1}, voice, LORA], layouts=layouts)
    assert (kept.keys(), alone.keys(), shared.keys()) == ({"art"}, {"art"}, {"both"})
    assert objects("Deployment", nodes=CARDS, services=[ART | {"lends": True}]).keys() == {"art-0", "art-1"}


def test_a_lent_replica_has_the_time_of_the_file_to_finish_and_the_first_ones_can_be_kept() -> None:
    lending = {"lending": {"finish": "90s", "keep": 1}}
    deployments = objects("Deployment", nodes=CARDS, services=[ART, LORA], kubernetes=lending)
    pod = deployments["art-0"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 90}}}
    assert pod["terminationGracePeriodSeconds"] > 90
    labels = [deployments[name]["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] for name in ("art-0", "art-1")]
    values = objects("WorkloadPriorityClass", "kueue", nodes=CARDS, services=[ART, LORA], kubernetes=lending)
    kept, lent, job = (values[name]["value"] for name in (*labels, "corral-batch"))
    assert kept > job > lent > values["corral-emptied"]["value"]
    kept_service = objects("StatefulSet", nodes=CARDS, services=[ART | {"lends": False}, LORA], kubernetes=lending)
    assert "lifecycle" not in kept_service["art"]["spec"]["template"]["spec"]["containers"][0]


def test_queues_and_flavours_of_two_installations_have_names_of_their_own() -> None:
    names: tuple[Json, ...] = ({}, {"name": "other"})
    for kind in ("ClusterQueue", "ResourceFlavor"):
        first, second = (objects(kind, "kueue", queues=QUEUES, **name).keys() for name in names)
        assert first
        assert not first & second


def test_a_namespace_has_room_for_replicas_that_wait_while_a_job_has_their_gpus() -> None:
    for replicas in (1, 2):
        parts: Json = {"nodes": CARDS, "services": [ART | {"replicas": replicas}, LORA]}
        (limit,) = objects("ResourceQuota", **parts)["gpus"]["spec"]["hard"].values()
        assert int(limit) == 2 + replicas  # a quota counts pods that Kueue holds back as well
