"""Simulates the nodes of a control plane: `unshare --net python -m control_plane.simulator --help`, from `tests`.

One process and one event loop for all nodes of a run. It is in the namespace that is the cluster's network, so that
everything ends with it. Tests ask it by HTTP on a socket in the plane's folder (`control_plane.cluster`).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path

from control_plane.network import Network, connect_namespace
from control_plane.plane import TOKEN
from control_plane.simulator.api import Api
from control_plane.simulator.proxy import run_proxy
from control_plane.simulator.service import Simulator


async def simulate(folder: Path, network: Network) -> None:
    """Run until this process is asked to end."""
    url = f"https://{network.host}:{(folder / 'url').read_text().rpartition(':')[2]}"
    ending = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    async with Api(url, TOKEN, folder / "ca.crt") as api, run_proxy(api, folder, network, url):
        simulator = Simulator(api, folder, network)
        async with simulator:
            await ending.wait()


def main() -> None:
    """Read the words of the command line and simulate."""
    parser = argparse.ArgumentParser(description="Simulates the nodes of a control plane.")
    parser.add_argument("--plane", type=Path, required=True, help="the plane's folder")
    parser.add_argument("--network", type=int, required=True, help="the number of the range of addresses")
    parser.add_argument("--host-process", type=int, required=True, help="a process in the machine's own network")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    network = Network(options.network)
    connect_namespace(network, options.host_process)
    asyncio.run(simulate(options.plane, network))


if __name__ == "__main__":
    main()
