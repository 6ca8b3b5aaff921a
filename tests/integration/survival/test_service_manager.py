"""A server that systemd starts reports that its start goes on, when it is ready, that it lives, and that it stops."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

CLUSTER = """\
apiVersion: corral/v1
name: kept
nodes: [{name: here, gpus: [], cpu: {slots: 1}}]
engines: {sleep: {enabled: true}}
"""


async def test_a_server_reports_a_long_start_ready_alive_and_stopping(short_folder: Path, database_url: str) -> None:
    (short_folder / "cluster.yaml").write_text(CLUSTER)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.bind(str(short_folder / "notify"))
        loop = asyncio.get_running_loop()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "corral", "up", "--port", "0", "--data-dir", str(short_folder / "data")),
            *("--cluster", str(short_folder / "cluster.yaml")),
            env={
                "PATH": "/usr/bin:/bin",
                "CORRAL_DATABASE_URL": database_url,
                "NOTIFY_SOCKET": str(short_folder / "notify"),
                "WATCHDOG_USEC": "400000",
            },
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def receive(wanted: str) -> str:
            async with asyncio.timeout(60):
                while wanted not in (text := (await loop.sock_recv(manager, 4096)).decode()):
                    pass
            return text

        try:
            assert await receive("EXTEND_TIMEOUT_USEC=") == (
                "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=saves and migrates the database"
            )
            assert "STATUS=listens on http://127.0.0.1:" in await receive("READY=1")
            for _ in range(3):
                await receive("WATCHDOG=1")
            process.terminate()
            await receive("STOPPING=1")
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
