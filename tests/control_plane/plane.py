"""Starts a real control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and Kueue.

`python -m control_plane.plane` from the folder `tests` keeps one running until it is interrupted, and prints what
CORRAL_PLANE has to be for tests to use it.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import yaml

from control_plane.certificates import make_certificates
from doubles.short_folders import lend_short_folder

ROOT = Path(__file__).parents[2]
BINARIES = ROOT / ".cache" / "control-plane"
TOKEN = "administrator-of-the-test-cluster"
SERVICE_RANGE = "10.96.0.0/16"
"""Addresses of Services of a plane without nodes; nothing routes them."""
PATIENCE_S = 120.0
LOCK = "lock"
"""A file in the folder of a plane, locked while it runs."""

# A lost node is noticed after 8 s (40 s by default), and its pods are evicted 3 s later (300 s by default): the same
# behaviour in a time that a test can wait for.
GRACE_S = 8
TOLERATION_S = 3


class PlaneError(Exception):
    """A part of the control plane did not start; has the last lines of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A control plane that runs."""

    folder: Path
    """Its certificates, logs and `kubeconfig`."""
    url: str
    """Address of the API server, on loopback."""

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of a cluster administrator."""
        return self.folder / "kubeconfig"

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", timeout_s: float = 30.0
    ) -> Any:
        """Send a request of an administrator. Raises: HTTPError with the server's answer; URLError."""
        request = Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": kind},
        )
        trusted = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        try:
            with urlopen(request, context=trusted, timeout=timeout_s) as answer:
                text = answer.read()
        except HTTPError as error:
            reason = error.read()
            words = f"{error.reason}: {reason.decode(errors='replace')}"
            raise HTTPError(error.url, error.code, words, error.headers, BytesIO(reason)) from None
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def apply(self, value: Any, path: str) -> Any:
        """Apply an object server-side, as the field manager `plane`."""
        where = f"{path}/{value['metadata']['name']}?fieldManager=plane&force=true"
        return self.ask("PATCH", where, value, "application/apply-patch+yaml")


def find_missing() -> str | None:
    """Find why no control plane can be started here, with what to do; None when one can."""
    if not (BINARIES / "versions").exists():
        return "the control plane is not built: `make control-plane` builds it (about 10 minutes)"
    if os.geteuid() != 0:
        return "nodes are network namespaces of this machine, which only root can make: run `make test-cluster` as root"
    if shutil.which("etcd") is None:
        return "etcd is not installed: `sh tests/packages.sh` installs it"
    return None


def read_plane(folder: Path) -> Plane:
    """Read the control plane that runs in a folder."""
    return Plane(folder=folder, url=(folder / "url").read_text())


@contextmanager
def run_plane(address: str = "127.0.0.1", services: str = SERVICE_RANGE) -> Generator[Plane]:
    """Run a control plane in a folder of its own. `address`: where pods reach the API server; `services`: their range.

    Raises: PlaneError when a part does not start.
    """
    _remove_leftovers()
    with lend_short_folder("plane") as folder, (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        parts: list[subprocess.Popen[bytes]] = []
        try:
            yield _start(folder, address, services, parts)
        finally:
            for process in reversed(parts):
                process.terminate()
            for process in reversed(parts):
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _remove_leftovers() -> None:
    """Remove the folders of planes that were killed: nothing else of them stays."""
    for path in Path("/tmp").glob(f"plane-*/{LOCK}"):
        with suppress(OSError), path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


def _start(folder: Path, address: str, services: str, parts: list[subprocess.Popen[bytes]]) -> Plane:
    make_certificates(folder, {"127.0.0.1", address, str(ip_network(services)[1])})
    etcd, peers, api, kueue_webhook, kueue_health, kueue_metrics, controllers, scheduler = _find_ports(8)
    parts.append(
        _run(
            folder,
            "etcd",
            [
                "etcd",
                f"--data-dir={folder}/etcd",
                f"--listen-client-urls=http://127.0.0.1:{etcd}",
                f"--advertise-client-urls=http://127.0.0.1:{etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peers}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
                f"--initial-cluster=default=http://127.0.0.1:{peers}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
        )
    )
    (folder / "tokens.csv").write_text(f'{TOKEN},administrator,administrator,"system:masters"\n')
    parts.append(
        _run(
            folder,
            "kube-apiserver",
            [
                str(BINARIES / "kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{etcd}",
                "--bind-address=0.0.0.0",
                f"--secure-port={api}",
                f"--advertise-address={address}" if address != "127.0.0.1" else "--advertise-address=192.0.2.1",
                f"--service-cluster-ip-range={services}",
                f"--tls-cert-file={folder}/server.crt",
                f"--tls-private-key-file={folder}/server.key",
                f"--client-ca-file={folder}/ca.crt",
                f"--token-auth-file={folder}/tokens.csv",
                "--authorization-mode=Node,RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={folder}/accounts.key",
                f"--service-account-signing-key-file={folder}/accounts.key",
                f"--kubelet-certificate-authority={folder}/ca.crt",
                f"--kubelet-client-certificate={folder}/server.crt",
                f"--kubelet-client-key={folder}/server.key",
                "--kubelet-preferred-address-types=InternalIP",
                "--allow-privileged=true",
                "--enable-admission-plugins=NodeRestriction,PodNodeSelector",
                f"--default-not-ready-toleration-seconds={TOLERATION_S}",
                f"--default-unreachable-toleration-seconds={TOLERATION_S}",
                "--watch-cache=true",
            ],
        )
    )
    plane = Plane(folder=folder, url=f"https://127.0.0.1:{api}")
    (folder / "url").write_text(plane.url)
    _write_kubeconfig(plane)
    _wait_for(plane, "/readyz", parts)
    options = [f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1"]
    rate = ["--kube-api-qps=200", "--kube-api-burst=400"]
    parts.append(
        _run(
            folder,
            "kube-controller-manager",
            [
                str(BINARIES / "kube-controller-manager"),
                *options,
                *rate,
                f"--secure-port={controllers}",
                f"--service-account-private-key-file={folder}/accounts.key",
                f"--root-ca-file={folder}/ca.crt",
                "--use-service-account-credentials=true",
                "--node-monitor-period=1s",
                f"--node-monitor-grace-period={GRACE_S}s",
                "--pv-recycler-pod-template-filepath-nfs=",
                "--terminated-pod-gc-threshold=200",
            ],
        )
    )
    parts.append(
        _run(
            folder,
            "kube-scheduler",
            [str(BINARIES / "kube-scheduler"), *options, *rate, f"--secure-port={scheduler}"],
        )
    )
    _install_kueue(plane, kueue_webhook)
    parts.append(_run_kueue(plane, kueue_webhook, kueue_health, kueue_metrics))
    _wait_for_port(folder, kueue_webhook, parts)
    _wait_for_account(plane, parts)
    return plane


def _run(
    folder: Path, name: str, argv: Sequence[str], environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    log = (folder / f"{name}.log").open("ab")
    with log:
        # The kernel ends a part when this process ends, whatever ended it.
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


def _find_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()


def _write_kubeconfig(plane: Plane) -> None:
    authority = base64.b64encode((plane.folder / "ca.crt").read_bytes()).decode()
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": plane.url, "certificate-authority-data": authority}}],
        "users": [{"name": "administrator", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "administrator"}}],
        "current-context": "test",
    }
    plane.kubeconfig.write_text(yaml.safe_dump(value), encoding="utf-8")
    plane.kubeconfig.chmod(0o600)


def _install_kueue(plane: Plane, port: int) -> None:
    """Create Kueue's CRDs, wait until they are served, and register its webhooks at a port of loopback."""
    components = BINARIES / "kueue-components"
    names: list[str] = []
    for path in sorted((components / "crd").glob("*.yaml")):
        definition = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        plane.apply(definition, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        names.append(definition["metadata"]["name"])
    deadline = time.monotonic() + PATIENCE_S
    for name in names:
        while not _is_established(plane, name):
            if time.monotonic() > deadline:
                raise PlaneError(f"the API server does not serve {name}")
            time.sleep(0.1)
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kueue-system"}}, "/api/v1/namespaces")
    authority = base64.b64encode((plane.folder / "ca.crt").read_bytes()).decode()
    for value in yaml.load_all(
        (components / "webhook" / "manifests.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader
    ):
        if not value:
            continue
        value["metadata"]["name"] = f"kueue-{value['metadata']['name']}"
        for webhook in value["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority}
            # As Kueue's own installation: its webhooks leave the control plane's pods alone.
            webhook["namespaceSelector"] = {
                "matchExpressions": [
                    {
                        "key": "kubernetes.io/metadata.name",
                        "operator": "NotIn",
                        "values": ["kube-system", "kueue-system"],
                    }
                ]
            }
        plural = f"{value['kind'][0].lower()}{value['kind'][1:]}s".lower()
        plane.apply(value, f"/apis/admissionregistration.k8s.io/v1/{plural}")


def _is_established(plane: Plane, name: str) -> bool:
    definition = plane.ask("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)


def _run_kueue(plane: Plane, webhook: int, health: int, metrics: int) -> subprocess.Popen[bytes]:
    certificates = plane.folder / "kueue-certificates"
    certificates.mkdir()
    shutil.copy(plane.folder / "server.crt", certificates / "tls.crt")
    shutil.copy(plane.folder / "server.key", certificates / "tls.key")
    configuration = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": "kueue-system",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": f"127.0.0.1:{metrics}"},
        "webhook": {"host": "127.0.0.1", "port": webhook, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "clientConnection": {"qps": 200, "burst": 400},
        "featureGates": {"VisibilityOnDemand": False},  # its server wants a certificate at a path of the machine
        "integrations": {"frameworks": ["batch/job", "pod", "deployment", "statefulset"]},
    }
    path = plane.folder / "kueue.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    argv = [str(BINARIES / "kueue"), f"--config={path}", "--zap-log-level=1"]
    environment = {
        "KUBECONFIG": str(plane.kubeconfig),
        "KUEUE_METRICS_CERTIFICATES": str(certificates),
        "POD_NAMESPACE": "kueue-system",
    }
    return _run(plane.folder, "kueue", argv, environment)


def _wait_for(plane: Plane, path: str, parts: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            plane.ask("GET", path)
        except (HTTPError, URLError, OSError):
            _check_alive(plane.folder, parts)
            if time.monotonic() > deadline:
                raise PlaneError(
                    f"the API server did not get ready:\n{_read_end(plane.folder, 'kube-apiserver')}"
                ) from None
            time.sleep(0.1)
        else:
            return


def _wait_for_port(folder: Path, port: int, parts: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if any(process.poll() is not None for process in parts):
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise PlaneError(f"Kueue does not listen for webhooks:\n{_read_end(folder, 'kueue')}")


def _wait_for_account(plane: Plane, parts: list[subprocess.Popen[bytes]]) -> None:
    """Wait until the controllers work: pods are refused before their namespace has its account."""
    _wait_for(plane, "/api/v1/namespaces/default/serviceaccounts/default", parts)


def _check_alive(folder: Path, parts: list[subprocess.Popen[bytes]]) -> None:
    for process in parts:
        if process.poll() is not None:
            name = Path(str(process.args[3])).name  # type: ignore[index] - setpriv's own words are the first three
            raise PlaneError(f"{name} ended with exit code {process.returncode}:\n{_read_end(folder, name)}")


def _read_end(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text(errors="replace")[-4000:]


if __name__ == "__main__":
    from control_plane.cluster import run_plane_with_nodes

    reason = find_missing()
    if reason is not None:
        sys.exit(reason)
    start = time.monotonic()
    with run_plane_with_nodes() as running:
        print(  # noqa: T201 - a program of its own
            f"ready after {time.monotonic() - start:.1f} s: export CORRAL_PLANE={running.folder}", flush=True
        )
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
