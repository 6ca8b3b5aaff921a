"""What a Job's state, Kueue's workload and the pods mean for an attempt.

Statuses are those that Kubernetes 1.36 and Kueue 0.19 wrote for Jobs of `tests/cluster`.
"""

from __future__ import annotations

from typing import Any

from corral.engines.job.course import Course, Phase, read_course


def make_job(*conditions: tuple[str, str, str], suspend: bool = False) -> dict[str, Any]:
    listed = [
        {"type": kind, "status": "True", "reason": reason, "message": message} for kind, reason, message in conditions
    ]
    return {"spec": {"suspend": suspend}, "status": {"conditions": listed}}


def make_pod(
    *, node: str | None = "left", phase: str = "Running", state: dict[str, Any] | None = None
) -> dict[str, Any]:
    spec = {} if node is None else {"nodeName": node}
    containers = [] if state is None else [{"name": "work", "image": "train:1", "state": state}]
    return {"metadata": {"name": "pod"}, "spec": spec, "status": {"phase": phase, "containerStatuses": containers}}


def test_suspended_job_waits_with_kueues_own_reason() -> None:
    message = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor rtx-5090"
    workload = {
        "status": {
            "conditions": [{"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": message}]
        }
    }

    assert read_course(make_job(suspend=True), (), workload) == Course(phase=Phase.WAITING, note=f"Kueue: {message}")
    assert read_course(make_job(suspend=True), (), None).note == "waits for Kueue"


def test_pod_without_a_node_waits_with_the_schedulers_reason() -> None:
    pod = make_pod(node=None, phase="Pending")
    message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": message}]

    assert read_course(make_job(), [pod], None) == Course(phase=Phase.WAITING, note=f"no node: {message}")


def test_image_that_cannot_be_pulled_is_stuck_and_one_that_is_pulled_is_not() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "train:1"'}}
    stuck = read_course(make_job(), [make_pod(phase="Pending", state=waiting)], None)
    pulled = read_course(
        make_job(), [make_pod(phase="Pending", state={"waiting": {"reason": "ContainerCreating"}})], None
    )

    assert stuck.is_stuck
    assert stuck.note == 'left: ImagePullBackOff: Back-off pulling image "train:1"'
    assert pulled == Course(phase=Phase.STARTING, note="starts on left")


def test_gang_runs_only_when_all_its_pods_do() -> None:
    starting = make_pod(node="right", phase="Pending", state={"waiting": {"reason": "ContainerCreating"}})

    assert read_course(make_job(), [make_pod(), starting], None).phase is Phase.STARTING
    assert read_course(make_job(), [make_pod(), make_pod(node="right")], None).note == "runs on left, right"


def test_failure_is_explained_by_the_container_that_failed() -> None:
    failed = make_job(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    killed = make_pod(phase="Failed", state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})

    assert read_course(failed, [killed], None) == Course(phase=Phase.FAILED, note="OOMKilled, exit code 137 on left")
    assert read_course(failed, [], None).note.startswith("BackoffLimitExceeded: ")


def test_job_that_is_complete_has_succeeded_whatever_its_pods_say() -> None:
    assert read_course(make_job(("Complete", "CompletionsReached", "")), [], None).phase is Phase.SUCCEEDED
