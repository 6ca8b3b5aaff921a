"""Engine `job` on a real API server, scheduler, Job controller and Kueue; its pods are processes of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from control_plane.cluster import Cluster
from control_plane.machines import RTX_5090
from control_plane.simulator.images import Image
from corral.engines.job.engine import JobEngine
from corral.engines.job.inputs import JobOptions
from corral.engines.job.manifest import FOLDER, Target, name_job
from corral.work import EngineError, TaskInvalidError, Work
from doubles.remote_reports import KeptReports

_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_RUN_ONE = """
import asyncio, json, sys
from pathlib import Path
from uuid import UUID
from corral.engines.job.engine import JobEngine
from corral.engines.job.inputs import JobOptions
from corral.engines.job.manifest import Target
from corral.work import Work
from doubles.remote_reports import KeptReports
given = json.loads(sys.argv[1])
options = JobOptions.model_validate(given["options"])
engine = JobEngine(Target(**given["target"]), options, kubeconfig=Path(given["kubeconfig"]))
words = {"attempt": UUID(given["attempt"]), "scratch": Path(given["scratch"]), "inputs": given["inputs"]}
asyncio.run(engine.run(Work(**words, task=7, engine="job", timeout_s=600), KeptReports()))
"""


@pytest.fixture
def queue(cluster: Cluster, tmp_path: Path) -> Iterator[Target]:
    """A LocalQueue with two GPUs on one node, and a share that its pods mount."""
    cluster.add_image(Image(pattern="busybox", argv=["sh"]))
    cluster.add_node("alpha", gpus=[RTX_5090, RTX_5090])
    flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": cluster.name}}
    quotas = [("cpu", "64"), ("memory", "256Gi"), ("nvidia.com/gpu", "2")]
    resources = [{"name": name, "nominalQuota": quota} for name, quota in quotas]
    group = {
        "coveredResources": [name for name, _ in quotas],
        "flavors": [{"name": cluster.name, "resources": resources}],
    }
    spec: dict[str, Any] = {"namespaceSelector": {}, "resourceGroups": [group]}
    pool = {**flavor, "kind": "ClusterQueue", "spec": spec}
    local = {**flavor, "kind": "LocalQueue", "metadata": {"name": "pool"}, "spec": {"clusterQueue": cluster.name}}
    cluster.plane.apply(flavor, f"{_KUEUE}/resourceflavors")
    cluster.plane.apply(pool, f"{_KUEUE}/clusterqueues")
    cluster.plane.apply(local, f"{_KUEUE}/namespaces/{cluster.namespace}/localqueues")
    _share_folder(cluster, tmp_path / "shared")
    yield Target(namespace=cluster.namespace, queue="pool")
    cluster.plane.ask("DELETE", f"/api/v1/persistentvolumes/{cluster.name}")
    cluster.plane.ask("DELETE", f"{_KUEUE}/clusterqueues/{cluster.name}")
    cluster.plane.ask("DELETE", f"{_KUEUE}/resourceflavors/{cluster.name}")


def _share_folder(cluster: Cluster, folder: Path) -> None:
    folder.mkdir()
    cluster.export_folder("10.0.0.9:/srv/jobs", folder)
    access = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    share = {**access, "capacity": {"storage": "10Gi"}, "nfs": {"server": "10.0.0.9", "path": "/srv/jobs"}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": cluster.name}, "spec": share}
    cluster.plane.apply(volume, "/api/v1/persistentvolumes")
    claim = {**access, "volumeName": cluster.name, "resources": {"requests": {"storage": "10Gi"}}}
    cluster.create("persistentvolumeclaims", {"metadata": {"name": "share"}, "spec": claim})


@pytest.fixture
async def engine(cluster: Cluster, queue: Target, tmp_path: Path) -> AsyncIterator[JobEngine]:
    options = JobOptions.model_validate({"sharedFolder": str(tmp_path / "shared"), "sharedClaim": "share"})
    engine = JobEngine(queue, options, kubeconfig=cluster.plane.kubeconfig)
    yield engine
    await engine.close()


def make_inputs(script: str, **more: Any) -> dict[str, Any]:
    return {"image": "busybox", "command": ["sh", "-c", script], "memory": "64Mi", **more}


def make_work(folder: Path, inputs: dict[str, Any], *, earlier: tuple[UUID, ...] = (), **files: Path) -> Work:
    attempt = uuid4()
    scratch = folder / str(attempt)
    scratch.mkdir()
    named = {name.replace("_", "."): path for name, path in files.items()}
    return Work(
        attempt=attempt,
        earlier=earlier,
        task=7,
        engine="job",
        inputs=inputs,
        files=named,
        scratch=scratch,
        timeout_s=600,
    )


def list_jobs(cluster: Cluster) -> list[str]:
    answer = cluster.plane.ask("GET", f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs")
    return [job["metadata"]["name"] for job in answer["items"]]


async def test_image_runs_with_its_files_and_gives_its_outputs_progress_and_log(
    cluster: Cluster, engine: JobEngine, tmp_path: Path
) -> None:
    words = tmp_path / "words"
    words.write_text("a cat")
    script = (
        'echo "corral: progress 0.5 half way"; echo "gpus: $NVIDIA_VISIBLE_DEVICES"; sleep 4; '
        'tr a-z A-Z <"$CORRAL_INPUTS/words.txt" >"$CORRAL_OUTPUTS/loud.txt"'
    )
    report = KeptReports()
    await engine.check()

    produced = await engine.run(make_work(tmp_path, make_inputs(script, outputs=["*.txt"]), words_txt=words), report)

    files = {file.name: file.path.read_text() for file in produced.files}
    assert files["loud.txt"] == "A CAT"
    assert "gpus: " in files["log.txt"]
    assert (0.5, "half way") in zip(report.fractions, report.notes, strict=True)
    assert produced.values["job"].startswith(f"{cluster.namespace}/corral-")


async def test_failure_has_its_exit_code_its_last_words_and_its_log(engine: JobEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"exit code 3 on alpha.*out of ideas") as failed:
        await engine.run(make_work(tmp_path, make_inputs("echo out of ideas; exit 3")), KeptReports())
    assert failed.value.files[0].path.read_text() == "out of ideas\n"


async def test_job_above_the_quota_waits_with_kueues_reason_and_cancelling_deletes_it(
    cluster: Cluster, engine: JobEngine, tmp_path: Path
) -> None:
    report = KeptReports()
    running = asyncio.ensure_future(engine.run(make_work(tmp_path, make_inputs("sleep 60", gpus=3)), report))
    async with asyncio.timeout(60):
        await report.noted("Kueue: couldn't assign flavors")
    assert len(list_jobs(cluster)) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert list_jobs(cluster) == []


async def test_gang_starts_together_and_finds_its_first_pod_by_name(engine: JobEngine, tmp_path: Path) -> None:
    meet = (
        "import os, socket, time\n"
        "port = int(os.environ['MASTER_PORT'])\n"
        "if os.environ['NODE_RANK'] == '0':\n"
        "    with socket.create_server(('', port)) as server: print(server.accept()[0].recv(99).decode())\n"
        "else:\n"
        "    for _ in range(200):\n"
        "        try: socket.create_connection((os.environ['MASTER_ADDR'], port), 2).sendall(b'rank 1 of 2'); break\n"
        "        except OSError: time.sleep(0.2)\n"
    )
    inputs = {**make_inputs(""), "command": ["python3", "-c", meet], "pods": 2}

    produced = await engine.run(make_work(tmp_path, inputs), KeptReports())

    assert "rank 1 of 2" in produced.files[0].path.read_text()


async def test_job_goes_on_while_its_server_is_dead_and_is_run_once(
    cluster: Cluster, queue: Target, engine: JobEngine, tmp_path: Path
) -> None:
    script = 'echo started >>"$CORRAL_OUTPUTS/starts.txt"; sleep 6'
    first = make_work(tmp_path, make_inputs(script, outputs=["starts.txt"]))
    given = {
        "target": {"namespace": queue.namespace, "queue": queue.queue},
        "options": {"sharedFolder": str(tmp_path / "shared"), "sharedClaim": "share"},
        "kubeconfig": str(cluster.plane.kubeconfig),
        "attempt": str(first.attempt),
        "inputs": dict(first.inputs),
        "scratch": str(first.scratch),
    }
    tests = Path(__file__).parents[1]
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", _RUN_ONE, json.dumps(given), cwd=tests)
    outputs = tmp_path / "shared" / FOLDER / str(first.attempt) / "outputs" / "starts.txt"
    async with asyncio.timeout(60):
        while not outputs.exists():  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(0.1)
    os.kill(server.pid, signal.SIGKILL)
    await server.wait()

    second = make_work(tmp_path, dict(first.inputs), earlier=(first.attempt,))
    produced = await engine.run(second, KeptReports())

    assert {file.name: file.path.read_text() for file in produced.files}["starts.txt"] == "started\n"
    assert list_jobs(cluster) == [name_job(first.attempt)]


async def test_files_without_a_shared_folder_are_refused_before_anything_is_created(
    cluster: Cluster, queue: Target, tmp_path: Path
) -> None:
    engine = JobEngine(queue, JobOptions.model_validate({}), kubeconfig=cluster.plane.kubeconfig)
    with pytest.raises(TaskInvalidError, match="no folder that its pods share"):
        await engine.run(make_work(tmp_path, make_inputs("true", outputs=["*.txt"])), KeptReports())
    assert list_jobs(cluster) == []
