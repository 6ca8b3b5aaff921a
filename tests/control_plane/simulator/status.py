"""Composes a pod's status from the states of its containers, as the kubelet does. Decides; asks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from control_plane.simulator.events import format_time
from control_plane.simulator.objects import EMPTY, Json


@dataclass
class Record:
    """The state of one container, as far as its status has it."""

    name: str
    image: str
    kind: str
    """init, sidecar, main or ephemeral."""
    state: Json = field(default_factory=dict[str, Any])
    last_state: Json = field(default_factory=dict[str, Any])
    container_id: str = ""
    restarts: int = 0
    is_ready: bool = False
    is_started: bool | None = None
    resources: Json = None

    @property
    def exit_code(self) -> int | None:
        """Of its last run; None while it runs or waits."""
        return self.state.get("terminated", EMPTY).get("exitCode")

    @property
    def has_done(self) -> bool:
        """Whether an init container lets the next one begin."""
        return bool(self.is_started) if self.kind == "sidecar" else self.exit_code == 0


def make_container_status(record: Record) -> Json:
    """Make an entry of `containerStatuses`."""
    status: Json = {
        "name": record.name,
        "image": record.image,
        "imageID": f"simulated://{record.image}" if record.container_id else "",
        "containerID": record.container_id,
        "restartCount": record.restarts,
        "ready": record.is_ready or (record.kind == "init" and record.exit_code == 0),
        "started": bool(record.is_started),
        "state": record.state,
        "lastState": record.last_state,
    }
    if not record.container_id:
        del status["containerID"]
    return status


def decide_phase(spec: Json, records: Sequence[Record]) -> str:
    """Decide the phase of a pod whose containers are in these states."""
    inits = [record for record in records if record.kind in ("init", "sidecar")]
    mains = [record for record in records if record.kind == "main"]
    policy = spec.get("restartPolicy", "Always")
    for record in inits:
        if record.kind == "init" and record.exit_code not in (0, None) and policy == "Never":
            return "Failed"
    # Once a container has run, the pod has left Pending for good.
    if not all(record.has_done for record in inits) and not any(record.container_id for record in mains):
        return "Pending"
    if any("waiting" in record.state and not record.last_state for record in mains) or not mains:
        return "Pending" if not any("running" in record.state for record in mains) else "Running"
    if policy != "Always" and all(record.exit_code is not None for record in mains):
        if all(record.exit_code == 0 for record in mains):
            return "Succeeded"
        if policy == "Never":
            return "Failed"
    return "Running"


def make_status(
    pod: Json, records: Sequence[Record], *, addresses: tuple[str, str], started_at: str, has_network: bool
) -> Json:
    """Make the status of a pod. `addresses`: the node's and the pod's own (empty until it has one)."""
    host, own = addresses
    phase = decide_phase(pod["spec"], records)
    ends = [record.exit_code for record in records if record.kind == "main"]
    if "deletionTimestamp" in pod["metadata"] and None not in ends:
        phase = "Failed" if any(ends) else "Succeeded"
    inits = [record for record in records if record.kind in ("init", "sidecar")]
    mains = [record for record in records if record.kind == "main"]
    status: Json = {
        "phase": phase,
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "startTime": started_at,
        "containerStatuses": [make_container_status(record) for record in mains],
    }
    if own:
        status |= {"podIP": own, "podIPs": [{"ip": own}]}
    if inits:
        status["initContainerStatuses"] = [make_container_status(record) for record in inits]
    others = [record for record in records if record.kind == "ephemeral"]
    if others:
        status["ephemeralContainerStatuses"] = [make_container_status(record) for record in others]
    status["conditions"] = _make_conditions(pod, phase, inits, mains, has_network=has_network)
    return status


def _make_conditions(
    pod: Json, phase: str, inits: Sequence[Record], mains: Sequence[Record], *, has_network: bool
) -> Json:
    own: dict[str, Json] = {"PodReadyToStartContainers": {"status": str(has_network)}}
    late = [record.name for record in inits if not record.has_done]
    has_begun = any(record.container_id for record in mains)
    if late and not has_begun:
        message = f"containers with incomplete status: [{' '.join(late)}]"
        own["Initialized"] = {"status": "False", "reason": "ContainersNotInitialized", "message": message}
    else:
        reason = {"reason": "PodCompleted"} if phase == "Succeeded" and inits else {}
        own["Initialized"] = {"status": "True", **reason}
    unready = [record.name for record in (*inits, *mains) if record.kind != "init" and not record.is_ready]
    if phase in ("Succeeded", "Failed"):
        ready: Json = {"status": "False", "reason": "PodCompleted" if phase == "Succeeded" else "PodFailed"}
    elif unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        ready = {"status": "False", "reason": "ContainersNotReady", "message": message}
    else:
        ready = {"status": "True"}
    own["ContainersReady"] = ready
    own["Ready"] = _add_gates(pod, ready)
    kept: dict[str, Json] = {entry["type"]: entry for entry in pod.get("status", EMPTY).get("conditions") or ()}
    conditions = [entry for name, entry in kept.items() if name not in own]
    for name, entry in own.items():
        before = kept.get(name, {})
        is_same = before.get("status") == entry["status"]
        changed_at = before.get("lastTransitionTime") if is_same else format_time()
        conditions.append({"type": name, "lastProbeTime": None, "lastTransitionTime": changed_at, **entry})
    return conditions


def _add_gates(pod: Json, ready: Json) -> Json:
    states = {entry["type"]: entry["status"] for entry in pod.get("status", EMPTY).get("conditions") or ()}
    for gate in pod["spec"].get("readinessGates") or ():
        name = gate["conditionType"]
        if ready["status"] == "True" and states.get(name) != "True":
            message = f'corresponding condition of pod readiness gate "{name}" does not exist.'
            return {"status": "False", "reason": "ReadinessGatesNotReady", "message": message}
    return ready
