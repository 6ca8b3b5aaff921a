"""Pods that the API server refuses, settings that are not there, autoscalers without numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.diagnosis.case import Case, find_condition, list_statuses, show_condition, show_event, show_field
from corral.diagnosis.objects import get_list, get_map, get_text
from corral.diagnosis.placing import name_workload
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Symptom
from corral.snapshot import ObjectKey

_LEVEL = "pod-security.kubernetes.io/enforce"
_KNOWN = re.compile(r'violates PodSecurity|RuntimeClass "[^"]+" not found')


@diagnoses(
    "G06",
    evidence="event FailedCreate (violates PodSecurity); Namespace: label pod-security.kubernetes.io/enforce",
    reads=("Event", "Namespace"),
)
def find_insecure_pods(case: Case) -> Iterator[Symptom]:
    """Look for workloads without pods, since their namespace does not admit them."""
    for value, event in case.list_refused():
        message = get_text(event, "message")
        named = re.search(r'violates PodSecurity "(?P<level>[^:"]+)[^"]*": (?P<why>.*)', message, re.DOTALL)
        if named is None:
            continue
        namespace = case.snapshot.find("Namespace", value["metadata"]["namespace"])
        workload = case.find_workload(value)
        yield Symptom(
            subject=ObjectKey.read(workload),
            cause=f"its namespace enforces the level {named['level']!r}, which its pods do not meet",
            evidence=(
                show_event(value, event),
                *((show_field(namespace, f"metadata.labels[{_LEVEL}]", named["level"]),) if namespace else ()),
            ),
            fix=f"set what the event names in {name_workload(workload)}, or label the namespace {_LEVEL}=baseline",
        )


@diagnoses(
    make_pitfall("K27", "pods-refused", "a workload whose pods the API server refuses"),
    evidence="event FailedCreate of ReplicaSets, StatefulSets, DaemonSets, Jobs (quota, account, webhooks)",
    reads=("Event",),
)
def find_refused_pods(case: Case) -> Iterator[Symptom]:
    """Look for workloads without pods for another reason."""
    for value, event in case.list_refused():
        message = " ".join((get_text(event, "message")).split())
        if _KNOWN.search(message):
            continue
        namespace = value["metadata"]["namespace"]
        account = re.search(r'serviceaccount "(?P<name>[^"]+)" not found', message)
        if account:
            fix = f"kubectl -n {namespace} create serviceaccount {account['name']}"
        elif "exceeded quota" in message:
            fix = f"raise the quota, or lower the requests: kubectl -n {namespace} describe resourcequota"
        else:
            fix = "change what the event names"
        yield Symptom(
            subject=ObjectKey.read(case.find_workload(value)),
            cause=f"its pods are refused: {message.partition(': ')[2] or message}",
            evidence=(show_event(value, event),),
            fix=fix,
        )


@diagnoses(
    make_pitfall("K28", "setting-missing", "a container whose Secret or ConfigMap is not there, or lacks a key"),
    evidence="Pod: waiting CreateContainerConfigError and its message",
    source="https://kubernetes.io/docs/concepts/configuration/secret/",
    is_recalled=True,
)
def find_missing_settings(case: Case) -> Iterator[Symptom]:
    """Look for containers that wait for a Secret, a ConfigMap or a key of one."""
    for pod in case.pods:
        for status in list_statuses(pod):
            waiting = get_map(status, "state", "waiting")
            if waiting.get("reason") != "CreateContainerConfigError":
                continue
            message = get_text(waiting, "message")
            namespace = pod["metadata"]["namespace"]
            secret = re.search(r'secret "(?P<name>[^"]+)" not found', message)
            key = re.search(r"couldn't find key (?P<key>\S+) in (?P<kind>\w+) (?P<where>\S+)", message)
            if secret:
                fix = f"kubectl -n {namespace} create secret generic {secret['name']} --from-literal=KEY=VALUE"
            elif key:
                fix = f"add the key {key['key']} to the {key['kind']} {key['where']}"
            else:
                fix = "create what the message names"
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"{status['name']} cannot start: {message}",
                evidence=(show_field(pod, f"containerStatuses[{status['name']}].state.waiting", message),),
                fix=fix,
            )


@diagnoses(
    "G07",
    evidence="HorizontalPodAutoscaler: ScalingActive; its metrics",
    reads=("HorizontalPodAutoscaler",),
)
def find_blind_autoscalers(case: Case) -> Iterator[Symptom]:
    """Look for autoscalers whose numbers no adapter gives."""
    for autoscaler in case.snapshot.list("HorizontalPodAutoscaler"):
        condition = find_condition(autoscaler, "ScalingActive", "False")
        types = [metric["type"] for metric in get_list(autoscaler["spec"], "metrics")]
        others = sorted({type for type in types if type in ("External", "Object", "Pods")})
        if condition is not None and others and "Metric" in (condition.get("reason") or ""):
            yield Symptom(
                subject=ObjectKey.read(autoscaler),
                cause=f"no adapter gives its metrics of type {', '.join(others)}, so it never scales",
                evidence=(
                    show_condition(autoscaler, condition),
                    show_field(autoscaler, "spec.metrics.type", ", ".join(types)),
                ),
                fix="install prometheus-adapter with a rule for the metric, or remove the autoscaler",
            )
