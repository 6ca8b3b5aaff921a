"""Runs the real kube-proxy in the cluster's network, so that addresses of Services and their NodePorts work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import yaml

from control_plane.network import Network
from control_plane.plane import BINARIES
from control_plane.simulator.api import Api, ApiError

NAME = "kube-proxy-of-the-simulator"


@asynccontextmanager
async def run_proxy(api: Api, folder: Path, network: Network, url: str) -> AsyncGenerator[None]:
    """Run it; it has begun to write its rules when this returns."""
    config = yaml.safe_load((folder / "kubeconfig").read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"]["server"] = url
    place = folder / "kubeconfig-inside"
    place.write_text(yaml.safe_dump(config), encoding="utf-8")
    place.chmod(0o600)
    # It reads its own address from its node, and waits 30 s for one; here it is the router of all nodes.
    with suppress(ApiError):
        await api.ask("POST", "/api/v1/nodes", {"metadata": {"name": NAME}, "spec": {"unschedulable": True}})
        addresses = [{"type": "InternalIP", "address": network.router}]
        await api.patch(f"/api/v1/nodes/{NAME}/status", {"status": {"addresses": addresses}})
    with (folder / "kube-proxy.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", str(BINARIES / "kube-proxy")),
            f"--kubeconfig={place}",
            "--proxy-mode=nftables",
            f"--hostname-override={NAME}",
            f"--cluster-cidr={network.pods}",
            f"--nodeport-addresses={network.nodes}",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            "--healthz-bind-address=127.0.0.1:10256",
            "--metrics-bind-address=127.0.0.1:10249",
            "--iptables-sync-period=30s",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "GOMAXPROCS": "2"},
        )
    try:
        await _wait_until_healthy(process, folder)
        with suppress(ApiError):
            await api.ask("DELETE", f"/api/v1/nodes/{NAME}")
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _wait_until_healthy(process: asyncio.subprocess.Process, folder: Path) -> None:
    while True:
        if process.returncode is not None:
            text = (folder / "kube-proxy.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"kube-proxy ended with exit code {process.returncode}:\n{text}")
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", 10256)
            writer.close()
            return
        await asyncio.sleep(0.1)
