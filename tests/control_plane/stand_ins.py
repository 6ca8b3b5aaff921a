"""Images that tests of the cluster use, and what stands for them on this machine.

    cluster.add_image(make_ollama())            # ollama/ollama:*, with `ollama serve | pull | list | ps | rm`
    cluster.add_image(make_comfyui())           # yanwk/comfyui-boot:*, on port 8188
    cluster.add_image(make_server("litellm*", 4000))
    cluster.add_image(make_corral())            # corral:*, this checkout's `corral`

The doubles say in their own docstrings what they were checked against.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from control_plane.simulator.images import Image

ROOT = Path(__file__).parents[2]
DOUBLES = ROOT / "tests" / "doubles"
OLLAMA = """#!/bin/sh
# Stands for Ollama's program: `serve` runs the double, the rest asks the server, as the program does.
set -eu
address=${{OLLAMA_HOST:-127.0.0.1:11434}}
address=${{address#http://}}
case $address in *:*) ;; *) address=$address:11434 ;; esac
port=${{address##*:}}
host=${{address%:*}}
[ "$host" = 0.0.0.0 ] && client=127.0.0.1 || client=$host
ask() {{ curl --silent --show-error --no-buffer "http://$client:$port/api/$1" ${{2:+--data "$2"}}; }}
case ${{1:-}} in
serve)
    folder=${{OLLAMA_MODELS:-${{HOME:-/root}}/.ollama/models}}
    mkdir -p "$folder"
    exec {python} {double} --host "$host" --port "$port" --models "$folder/models.json" --seconds-per-token {pace} ;;
pull)
    answer=$(ask pull "{{\\"model\\": \\"$2\\"}}")
    case $answer in *'"error"'*) echo "Error: $answer" >&2; exit 1 ;; esac ;;
list | ls) ask tags ;;
ps) ask ps ;;
rm) curl --silent --fail --request DELETE "http://$client:$port/api/delete" --data "{{\\"model\\": \\"$2\\"}}" ;;
*) echo "Error: unknown command \\"${{1:-}}\\" for \\"ollama\\"" >&2; exit 1 ;;
esac
"""
SERVER = """
import http.server, json, os, signal, socket, sys

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        told = {"pod": socket.gethostname(), "method": self.command, "path": self.path,
                "body": self.rfile.read(length).decode(), "headers": dict(self.headers)}
        text = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    do_POST = do_PUT = do_DELETE = do_GET

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the first process of a container has no default for it
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Answer).serve_forever()
"""


def make_shell(pattern: str = "busybox*") -> Image:
    """An image with a shell and the programs of this machine."""
    return Image(pattern=pattern, argv=["sh"])


def make_ollama(pattern: str = "ollama/ollama:*", *, seconds_per_token: float = 0.001) -> Image:
    """Ollama's image: `ollama` serves the double, which keeps its models in their folder, that is on their volume."""
    script = OLLAMA.format(python=sys.executable, double=DOUBLES / "ollama.py", pace=seconds_per_token)
    return Image(pattern=pattern, argv=["/usr/bin/ollama"], arguments=["serve"], files={"/usr/bin/ollama": script})


def make_comfyui(
    pattern: str = "yanwk/comfyui-boot:*", *, port: int = 8188, seconds_per_image: float = 0.05, jobs: bool = True
) -> Image:
    """A ComfyUI, whatever its arguments are. `jobs`: serves the jobs routes of newer versions."""
    words = ["--host", "0.0.0.0", "--port", str(port), "--seconds-per-image", str(seconds_per_image)]
    argv = [sys.executable, str(DOUBLES / "comfyui.py"), *words, *(["--jobs"] if jobs else [])]
    return Image(pattern=pattern, argv=argv, ignores_command=True)


def make_server(pattern: str, port: int) -> Image:
    """Any HTTP server: it answers every request with 200 and what was asked, as JSON, with the name of its pod."""
    return Image(pattern=pattern, argv=[sys.executable, "-c", SERVER, str(port)], ignores_command=True)


def make_corral(pattern: str = "corral:*") -> Image:
    """The program of this checkout."""
    script = f'#!/bin/sh\nexec {Path(sys.executable).with_name("corral")} "$@"\n'
    return Image(pattern=pattern, argv=["/usr/local/bin/corral"], files={"/usr/local/bin/corral": script})


PROMETHEUS = """
import http.server, pathlib

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = pathlib.Path("/prometheus/targets.json").read_bytes() if self.path.startswith("/api/v1/targets") else b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

http.server.ThreadingHTTPServer(("0.0.0.0", 9090), Answer).serve_forever()
"""


def make_prometheus(pattern: str = "prom/prometheus:*") -> Image:
    """A Prometheus whose targets are those of a file, in the words of Prometheus 3 (HTTP API, "Targets")."""
    return Image(pattern=pattern, argv=[sys.executable, "-c", PROMETHEUS], ignores_command=True)


def write_targets(disk: Path, nodes: Sequence[str], down: str | None = None, *, others: Sequence[str] = ()) -> None:
    """Write the targets of a node's Prometheus: exporters of `nodes`, of which that of the GPUs of `down` is down.

    `others` are jobs in addition: corral, kueue.
    """
    listed = [("kube-state-metrics", "", 8080), *((job, "", 80) for job in others)]
    for node in nodes:
        listed += [("dcgm-exporter", node, 9400), ("node-exporter", node, 9100), ("kubelet", node, 10250)]
    targets = [
        {
            "labels": {"job": job, "instance": f"10.0.0.1:{port}", **({"node": node} if node else {})},
            "scrapeUrl": f"http://10.0.0.1:{port}/metrics",
            "lastError": "connection refused" if (job, node) == ("dcgm-exporter", down) else "",
            "health": "down" if (job, node) == ("dcgm-exporter", down) else "up",
        }
        for job, node, port in listed
    ]
    folder = disk / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "targets.json").write_text(json.dumps({"status": "success", "data": {"activeTargets": targets}}))
