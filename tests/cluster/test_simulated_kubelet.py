"""`kubectl` itself reads logs, runs commands, attaches and forwards ports through the API server to simulated nodes."""

from __future__ import annotations

import subprocess
import time
from urllib.request import urlopen

import pytest

from control_plane.cluster import Cluster
from control_plane.plane import BINARIES
from control_plane.simulator.images import Image

SCRIPT = """
trap 'exit 0' TERM
echo first; sleep 0.1; echo second >&2
mkdir -p /srv/site; cd /srv/site; echo site >index.html
python3 -m http.server --bind 127.0.0.1 8000 & wait
"""


@pytest.fixture
def web(cluster: Cluster) -> str:
    """A pod with a server on its loopback."""
    cluster.add_image(Image(pattern="busybox", argv=["sh"]))
    cluster.add_node("alpha")
    container = {"name": "work", "image": "busybox", "args": ["-c", SCRIPT], "env": [{"name": "MODE", "value": "test"}]}
    cluster.create("pods", {"metadata": {"name": "web"}, "spec": {"containers": [container]}})
    cluster.wait_for_phase("web", "Running")
    return "web"


def make_argv(cluster: Cluster, *words: str) -> list[str]:
    """Make a command of kubectl in the test's namespace."""
    return [str(BINARIES / "kubectl"), f"--kubeconfig={cluster.plane.kubeconfig}", "-n", cluster.namespace, *words]


def run_kubectl(cluster: Cluster, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl to its end."""
    argv = make_argv(cluster, *words)
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)


def test_kubectl_logs_reads_both_streams_and_its_options(cluster: Cluster, web: str) -> None:
    cluster.wait_for(lambda: "second" in cluster.read_log(web), "the second line")
    assert run_kubectl(cluster, "logs", web).stdout == "first\nsecond\n"
    assert run_kubectl(cluster, "logs", web, "--tail=1").stdout == "second\n"
    assert run_kubectl(cluster, "logs", web, "--timestamps", "--tail=1").stdout.endswith("Z second\n")
    with subprocess.Popen(make_argv(cluster, "logs", "-f", web), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "first\n"
        cluster.kill_container(web, "work")
        assert following.stdout.read() == "second\n"  # with what `readline` has read ahead
    cluster.wait_for(lambda: cluster.read_pod(web)["status"]["containerStatuses"][0]["restartCount"], "a restart")
    assert run_kubectl(cluster, "logs", web, "--previous").stdout == "first\nsecond\n"


def test_kubectl_exec_has_streams_environment_and_exit_code(cluster: Cluster, web: str) -> None:
    script = "cat; echo $MODE; echo bad >&2; exit 3"
    done = run_kubectl(cluster, "exec", "-i", web, "--", "sh", "-c", script, text="typed\n")
    assert (done.stdout, done.returncode) == ("typed\ntest\n", 3)
    assert done.stderr.splitlines() == ["bad", "command terminated with exit code 3"]
    assert run_kubectl(cluster, "exec", web, "--", "hostname").stdout == "web\n"


def test_kubectl_forwards_to_the_loopback_of_a_pod(cluster: Cluster, web: str) -> None:
    argv = make_argv(cluster, "port-forward", f"pod/{web}", ":8000")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        port = int(forwarding.stdout.readline().split("->")[0].rpartition(":")[2])
        for _ in range(3):  # each is a connection of its own
            assert read_until_ready(f"http://127.0.0.1:{port}/") == b"site\n"
        forwarding.terminate()


def test_an_ephemeral_container_sees_the_processes_of_its_target(cluster: Cluster, web: str) -> None:
    options = ("--image=busybox", "--target=work", "--profile=general", "-c", "look")
    done = run_kubectl(cluster, "debug", web, *options, "--", "sh", "-c", "ps ax")
    assert done.returncode == 0, done.stderr

    def look() -> str | None:
        statuses = cluster.read_pod(web)["status"].get("ephemeralContainerStatuses") or ()
        return cluster.read_log(web, "look") if any("terminated" in entry["state"] for entry in statuses) else None

    assert "http.server" in cluster.wait_for(look, "the end of the ephemeral container")


def read_until_ready(url: str) -> bytes:
    """Read a page; the server in the pod may still be starting."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(url, timeout=20) as reply:
                return reply.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
