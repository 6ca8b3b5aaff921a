"""Questions to containers and the judgement of their answers; the scripts run here, against a server that answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from threading import Thread
from typing import Any

import pytest
import yaml

from corral.deploying.objects import LayoutObjects
from corral.diagnosis.values import ContainerKey
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import make_wanted
from corral.snapshot import Snapshot
from corral.verifying import scripts
from corral.verifying.job import choose_images, make_job
from corral.verifying.judging import judge_answer, judge_silence
from corral.verifying.objects import list_groups
from corral.verifying.questions import Question, list_questions
from corral.verifying.scripts import Reply, read_reply
from corral.verifying.targets import judge_absence, judge_targets
from corral.verifying.values import Check, Mark, Subject

Json = dict[str, Any]
_NODES = ("one", "two")
_PYTHON = os.path.realpath(sys.executable)
"""The interpreter itself: what is called python3 here can be a script that looks for it."""


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = b"no" if self.path == "/broken" else b"fine"
        self.send_response(503 if self.path == "/broken" else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(argv: tuple[str, ...], folder: Path, *tools: str, **variables: str) -> Reply:
    """Run a script where `sh` finds these programs alone."""
    for tool in ("sh", "rm", "cat", "grep", "tail", "timeout", *tools):
        path = _PYTHON if tool == "python3" else which(tool)
        if path is not None and not (folder / tool).exists():
            (folder / tool).symlink_to(path)
    shell = which("sh") or ""
    ran = subprocess.run(
        [shell, *argv[1:]], env={"PATH": str(folder), **variables}, capture_output=True, text=True, check=False
    )
    return read_reply(ran.returncode, ran.stdout + ran.stderr)


@pytest.mark.parametrize("tool", ["curl", "python3", "wget", "bash"])
def test_each_program_asks_and_says_what_was_answered(url: str, tmp_path: Path, tool: str) -> None:
    if which(tool) is None:
        assert tool == "wget", "only wget can be absent here"
        return
    reply = run(scripts.write_get(url, "/health"), tmp_path, tool)
    assert (reply.tool, reply.status, reply.body, reply.url) == (tool, 200, "fine", f"{url}/health")
    broken = run(scripts.write_get(url, "/broken"), tmp_path, tool)
    assert broken.status == 503 or (tool == "wget" and "503" in (broken.error or ""))
    gone = run(scripts.write_get("http://127.0.0.1:9", "/"), tmp_path, tool)
    assert gone.status is None
    assert gone.error
    assert not gone.lacks_tool


def test_address_is_that_of_the_containers_own_environment(url: str, tmp_path: Path) -> None:
    argv = scripts.write_get("http://planned:1", "/health", "OLLAMA_URL")
    reply = run(argv, tmp_path, "python3", OLLAMA_URL=f"{url}/")
    assert (reply.url, reply.status) == (f"{url}/health", 200)


def test_container_without_programs_lacks_them_and_is_not_bad(url: str, tmp_path: Path) -> None:
    assert run(scripts.write_get(url, "/"), tmp_path).lacks_tool


def test_password_in_an_address_is_never_shown() -> None:
    mark = "corral-verify"
    reply = read_reply(1, f"{mark} url http://me:secret@host/\n{mark} error cannot reach http://me:secret@host/")
    assert (reply.url, reply.error) == ("http://host/", "cannot reach http://host/")


def test_file_is_written_read_and_removed(tmp_path: Path) -> None:
    share, tools = tmp_path / "share", tmp_path / "tools"
    share.mkdir()
    tools.mkdir()
    reply = run(scripts.write_attempt(str(share)), tools)
    assert (reply.written or "").startswith(f"{share}/.corral-verify-")
    assert list(share.iterdir()) == []
    refused = run(scripts.write_attempt(str(tmp_path / "absent")), tools)
    assert (refused.written, refused.exit_code) == (None, 1)
    assert refused.error


def make_layout(*services: Json, **parts: Any) -> LayoutObjects:
    value: Json = {
        "apiVersion": "corral/v1",
        "name": "yard",
        "kubernetes": {"namespace": "ai", "gpuMode": "devicePlugin"},
        "nodes": [{"name": name, "gpus": [{"model": "RTX 4090"}]} for name in _NODES],
        "services": list(services),
    }
    return make_wanted(check_cluster(FileText(text=yaml.safe_dump(value | parts))), None)


def make_pod(wanted: LayoutObjects, name: str, node: str, *, image: str = "voice:1") -> Json:
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": wanted.cluster}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-x", "namespace": "ai", "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": name, "image": image}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"},
    }


_OLLAMA: Json = {"name": "ollama", "engines": ["ollama"], "gpus": 1, "models": ["llama3", "llama3.2:3b"]}
_BACKEND: Json = {"name": "backend", "image": "backend:1", "port": 80, "calls": ["ollama"], "storage": ["share"]}
_SERVER: Json = {"name": "corral", "kind": "corral", "storage": ["data"]}
_DATA: Json = {"name": "data", "kind": "local", "node": "one"}
_SHARE: Json = {"name": "share", "kind": "nfs", "server": "10.0.0.9", "path": "/srv"}


def ask(wanted: LayoutObjects) -> dict[Subject, Question]:
    snapshot = Snapshot.make([make_pod(wanted, "ollama", "one"), make_pod(wanted, "backend", "two")], wanted.kinds)
    watchers = (ContainerKey("monitoring", "prometheus-0", "prometheus"),)
    return {item.subject: item for item in list_questions(wanted, list_groups(wanted, snapshot), watchers)}


def test_questions_are_asked_where_the_answer_counts() -> None:
    questions = ask(make_layout(_OLLAMA, _BACKEND, storage=[_SHARE], engines={"ollama": {}}))
    calls, models, engines = (questions[subject] for subject in (Subject.CALLS, Subject.MODELS, Subject.ENGINES))
    assert (calls.name, calls.address, calls.variable) == ("backend -> ollama", "http://ollama:11434", "OLLAMA_URL")
    assert calls.candidates == (ContainerKey("ai", "backend-x", "backend"),)
    assert models.candidates == (ContainerKey("ai", "ollama-x", "ollama"),)
    assert models.is_local
    assert engines.candidates[0] == ContainerKey("ai", "backend-x", "backend"), "from another pod"
    assert engines.address == "http://10.0.0.1:11434"
    assert questions[Subject.EXPORTS].name == "NFS share (10.0.0.9:/srv)"
    assert questions[Subject.EXPORTS].candidates == (ContainerKey("ai", "backend-x", "backend"),)
    assert questions[Subject.TARGETS].candidates[0].namespace == "monitoring"


@pytest.mark.parametrize(
    ("direct", "address"), [(False, "http://corral:11435"), (True, "http://ollama:11434")], ids=["door", "direct"]
)
def test_engine_behind_a_door_of_the_layouts_server_is_asked_for_at_the_door(direct: bool, address: str) -> None:
    gateway: Json = {"ollama": {"port": 11435, "owner": "house", "allow": ["10.42.0.0/16"]}}
    wanted = make_layout(_OLLAMA | {"direct": direct}, _BACKEND, _SERVER, storage=[_SHARE, _DATA], gateway=gateway)
    assert ask(wanted)[Subject.CALLS].address == address


def judge(question: Question, reply: Reply) -> Check:
    wanted = make_layout(_OLLAMA, _BACKEND, storage=[_SHARE])
    (check,) = judge_answer(question, reply, "asked in a container", wanted)
    return check


def test_missing_model_is_bad_with_the_command_that_pulls_it() -> None:
    question = ask(make_layout(_OLLAMA, _BACKEND, storage=[_SHARE]))[Subject.MODELS]
    body = json.dumps({"models": [{"name": "llama3:latest"}]})
    check = judge(question, Reply(exit_code=0, status=200, body=body))
    assert (check.mark, check.what) == (Mark.BAD, "not pulled: llama3.2:3b")
    assert check.fix == "kubectl -n ai exec ollama-x -c ollama -- ollama pull llama3.2:3b"
    assert judge(question, Reply(exit_code=0, status=200, body="<html>")).mark is Mark.UNKNOWN


def test_address_of_another_layout_is_bad_although_it_answers() -> None:
    question = ask(make_layout(_OLLAMA, _BACKEND, storage=[_SHARE]))[Subject.CALLS]
    check = judge(question, Reply(exit_code=0, status=200, url="http://ollama-edge:11434/"))
    assert check.mark is Mark.BAD
    assert "OLLAMA_URL leads to http://ollama-edge:11434/, and the layout says http://ollama:11434" in check.what
    well = judge(question, Reply(exit_code=0, status=401, took_ms=4, url="http://ollama:11434/"))
    assert (well.mark, well.what) == (Mark.OK, "401 in 4 ms, asked from inside")


def test_question_that_nobody_could_be_asked_is_unknown() -> None:
    question = ask(make_layout(_OLLAMA, _BACKEND, storage=[_SHARE]))[Subject.CALLS]
    assert judge_silence(question, "pods/exec is forbidden").mark is Mark.UNKNOWN


def make_targets(*missing: str, down: str = "") -> str:
    jobs = [("kube-state-metrics", ""), *((job, node) for job in _JOBS for node in _NODES)]
    targets = [
        {
            "labels": {"job": job, "node": node},
            "health": "down" if f"{job} {node}" == down else "up",
            "lastError": "context deadline exceeded" if f"{job} {node}" == down else "",
        }
        for job, node in jobs
        if f"{job} {node}" not in missing
    ]
    return json.dumps({"data": {"activeTargets": targets}})


_JOBS = ("dcgm-exporter", "node-exporter", "kubelet")


def test_exporter_that_is_not_scraped_and_one_that_is_down_are_named_with_their_node() -> None:
    wanted = make_layout(_OLLAMA)
    (well,) = judge_targets(make_targets(), "asked", wanted)
    assert well.mark is Mark.OK
    absent, down = judge_targets(make_targets("dcgm-exporter two", down="node-exporter one"), "asked", wanted)
    assert (absent.mark, absent.what) == (Mark.BAD, "dcgm-exporter on two is not scraped")
    assert (down.mark, down.what) == (Mark.BAD, "node-exporter on one is down: context deadline exceeded")
    assert judge_targets("<html>", "asked", wanted)[0].mark is Mark.UNKNOWN


def test_cluster_without_a_prometheus_is_bad_where_the_file_has_one_alone() -> None:
    assert judge_absence(make_layout(_OLLAMA)) is None
    absence = judge_absence(make_layout(_OLLAMA, {"name": "prometheus", "kind": "addon"}))
    assert absence is not None
    assert absence.mark is Mark.BAD


def test_job_runs_an_image_that_runs_there_ends_by_itself_and_has_no_rights() -> None:
    wanted = make_layout(_OLLAMA, _BACKEND, storage=[_SHARE])
    pods = [
        make_pod(wanted, "backend", "two", image="bare:1"),
        make_pod(wanted, "ollama", "one", image="ollama/ollama:1"),
    ]
    snapshot = Snapshot.make(pods, wanted.kinds)
    assert choose_images(wanted, snapshot, ())[0] == ("ollama/ollama:1", "one")
    assert choose_images(wanted, snapshot, ["backend-x"])[0] == ("bare:1", "two")
    question = ask(wanted)[Subject.EXPORTS]
    job = make_job(question, "bare:1", "two", wanted.cluster)
    assert job["spec"]["activeDeadlineSeconds"] <= 60
    assert job["spec"]["ttlSecondsAfterFinished"] <= 120
    pod = job["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"kubernetes.io/hostname": "two"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "share"}
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] in pod["containers"][0]["command"]
    assert os.sep not in job["metadata"]["generateName"]
