"""Corral's own server on Kubernetes: one leads and is ready, files are shared, rights are those that its work takes."""

from __future__ import annotations

from typing import Any

import pytest

from corral.rendering.kubernetes.contradictions import ContradictionError
from doubles.rendered_clusters import Json, notes_on, objects, pod_of, rendered

SHARE: Json = {"name": "files", "kind": "nfs", "server": "10.0.0.9", "path": "/srv", "size": "10Gi"}
POSTGRESQL: Json = {"name": "postgresql", "kind": "postgresql"}
SERVER: Json = {"name": "yardmaster", "kind": "corral"}
PAIR: Json = {**SERVER, "replicas": 2, "calls": ["postgresql"], "storage": ["files"]}
OLLAMA: Json = {"name": "ollama", "engines": ["ollama"], "gpus": 1}


def render_pair(**parts: Any) -> dict[str, Any]:
    return {"kubernetes": {"namespace": "ai"}, "storage": [SHARE], "services": [POSTGRESQL, PAIR, OLLAMA], **parts}


def list_verbs(role: Json) -> set[tuple[str, str]]:
    return {
        (f"{group}/{resource}".lstrip("/"), verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_of_two_servers_the_one_that_leads_is_ready_and_an_update_waits_for_no_other() -> None:
    deployment = objects("Deployment", **render_pair())["yardmaster"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/doors"
    assert container["startupProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": "100%"}
    assert deployment["spec"]["progressDeadlineSeconds"] == 2**31 - 1
    assert deployment["metadata"]["annotations"] == {"corral.dev/ready-replicas": "1"}


def test_no_budget_keeps_the_only_ready_server_on_a_node_that_is_drained() -> None:
    assert "yardmaster" not in objects("PodDisruptionBudget", **render_pair())


def test_servers_share_the_files_of_tasks_and_have_the_rest_of_their_directory_for_themselves() -> None:
    pod = pod_of("Deployment", "yardmaster", **render_pair())
    mounts = {
        mount["mountPath"]: (mount["name"], mount.get("subPath")) for mount in pod["containers"][0]["volumeMounts"]
    }
    assert mounts["/var/lib/corral"] == ("data", None)
    assert mounts["/var/lib/corral/artifacts"] == ("files", "artifacts")
    assert mounts["/var/lib/corral/backups"] == ("files", "backups")
    assert {"name": "data", "emptyDir": {}} in pod["volumes"]


def test_a_server_with_a_database_of_its_own_is_alone_on_its_volume() -> None:
    parts = render_pair(services=[{**SERVER, "storage": ["files"]}])
    deployment = objects("Deployment", **parts)["yardmaster"]
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    mounts = deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "files", "mountPath": "/var/lib/corral"} in mounts


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({**SERVER, "replicas": 2, "storage": ["files"]}, "would have a database of its own"),
        ({**SERVER, "replicas": 2, "calls": ["postgresql"]}, "no volume in common"),
    ],
)
def test_two_servers_without_what_they_must_share_are_refused(server: Json, words: str) -> None:
    with pytest.raises(ContradictionError) as refused:
        rendered(**render_pair(services=[POSTGRESQL, server]))
    assert any(words in problem.what for problem in refused.value.problems)


def test_the_server_alone_has_an_account_that_the_api_server_knows() -> None:
    assert pod_of("Deployment", "yardmaster", **render_pair())["automountServiceAccountToken"] is True
    assert pod_of("StatefulSet", "ollama", **render_pair())["automountServiceAccountToken"] is False


def test_rights_to_watch_follow_the_engines_and_those_to_run_jobs_need_the_engine() -> None:
    watching = {
        ("configmaps", "get"),
        ("discovery.k8s.io/endpointslices", "list"),
        ("discovery.k8s.io/endpointslices", "watch"),
    }
    without_jobs = {"job": {"enabled": False}}
    assert list_verbs(objects("Role", **render_pair(engines=without_jobs))["yardmaster"]) == watching
    assert objects("Role", **render_pair(engines=without_jobs, services=[POSTGRESQL, PAIR])) == {}
    jobs = list_verbs(objects("Role", **render_pair())["yardmaster"])
    assert jobs - watching >= {("batch/jobs", "create"), ("pods", "list")}


def test_rights_to_scale_are_for_the_services_on_demand_and_no_other() -> None:
    small = {"name": "small", "engines": ["ollama"], "gpus": 1}
    parts = render_pair(
        services=[POSTGRESQL, PAIR, OLLAMA, small], layouts={"pool": {"services": {"ollama": {"node": "one"}}}}
    )
    (rule,) = [rule for rule in objects("Role", **parts)["yardmaster"]["rules"] if rule["apiGroups"] == ["apps"]]
    assert rule == {
        "apiGroups": ["apps"],
        "resources": ["statefulsets/scale"],
        "resourceNames": ["small"],
        "verbs": ["patch"],
    }


def test_rights_to_apply_are_given_where_the_file_says_so_and_read_no_secret() -> None:
    assert objects("ClusterRole", **render_pair()).keys() == {"ai-yardmaster"}
    applying = render_pair(console={"mayApply": True})
    assert objects("Role", **applying).keys() == {"yardmaster", "yardmaster-apply"}
    assert objects("ClusterRole", **applying).keys() == {"ai-yardmaster", "ai-yardmaster-apply"}
    (subject,) = objects("ClusterRoleBinding", **applying)["ai-yardmaster-apply"]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "yardmaster", "namespace": "ai"}
    roles = [*objects("Role", **applying).values(), *objects("ClusterRole", **applying).values()]
    granted = {right for role in roles for right in list_verbs(role)}
    assert {verb for resource, verb in granted if resource == "secrets"} == {"create"}, "a Job's token is written"
    assert not any("*" in resource + verb for resource, verb in granted)


def test_notes_say_nothing_of_lost_data_where_the_files_are_shared() -> None:
    assert not [note for note in notes_on(**render_pair()) if "its data is lost" in note and "yardmaster" in note]
