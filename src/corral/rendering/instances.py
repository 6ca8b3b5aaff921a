"""Servers of instances that Corral runs (`run`), for a machine that is to own them: which there are, on which port.

Units (`instance_units`) and Compose services (`compose.instances`) are written from these. Both listen on loopback
alone, and their headers have what replaces `run` in the cluster file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from corral.cluster.run_values import Run
from corral.cluster.values import Cluster, Gpu, Instance, Node
from corral.engine_kinds import ENGINES
from corral.hardware.makers import NVIDIA, find_maker
from corral.presets.catalogue import Preset, list_presets
from corral.rendering.makers import IMAGES

LOOPBACK = "127.0.0.1"
PORT = "{port}"
"""Replaced by the port in commands and variables."""
STOP_S = 60
"""As for Corral's own server: what it started ends in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceServer:
    """An instance with `run`, and where it is written to run."""

    engine: str
    instance: Instance
    run: Run
    preset: Preset | None
    node: Node | None
    gpu: Gpu | None
    port: int | None
    """None where neither the file nor a preset has one."""
    lanes: int | None
    """How many requests it is started to do at once; None leaves that to it."""
    usual_port: int | None
    """The port on which its program listens by default; None where that is unknown."""

    @property
    def name(self) -> str:
        """Its name as a unit and as a service: `comfyui-desk`."""
        return re.sub(r"[^a-z0-9_-]+", "-", f"{self.engine}-{self.instance.name}".lower()).strip("-")

    @property
    def place(self) -> str:
        """The folder or the file of its machine."""
        return self.node.name if self.node is not None else "any"

    @property
    def is_program(self) -> bool:
        """Whether it is a program of the machine; units have these alone."""
        return self.preset is not None or bool(self.run.command)

    @property
    def image(self) -> str | None:
        """The image of its program; None where none is known."""
        if self.run.container is not None:
            return self.run.container.image
        program = ENGINES[self.engine].program
        if self.preset is None or program is None or program.image is None:
            return None
        maker = find_maker(self.gpu) if self.gpu is not None else None
        return program.image + IMAGES.get(self.engine, {}).get(maker or NVIDIA, "")


def list_servers(cluster: Cluster) -> Iterator[InstanceServer]:
    """List the instances with `run`; those of a preset or an image without a port get its own and the next ones."""
    nodes = {node.name: node for node in cluster.nodes}
    given: Counter[tuple[str | None, int]] = Counter()
    for engine, settings in cluster.engines.items():
        for instance in settings.instances:
            if instance.run is None:
                continue
            node = nodes.get(instance.node or "")
            preset = None if instance.run.preset is None else list_presets()[instance.run.preset]
            port, usual = instance.run.port, _find_usual_port(engine, instance.run, preset)
            if port is None and usual is not None:
                port = usual + given[instance.node, usual]
                given[instance.node, usual] += 1
            gpus = node.gpus or () if node is not None else ()
            yield InstanceServer(
                engine=engine,
                instance=instance,
                run=instance.run,
                preset=preset,
                node=node,
                gpu=next((gpu for gpu in gpus if gpu.index == instance.gpu), None),
                port=port,
                lanes=instance.lanes or settings.lanes,
                usual_port=usual,
            )


def _find_usual_port(engine: str, run: Run, preset: Preset | None) -> int | None:
    """Return the port on which its program listens by default; None where that is unknown."""
    if preset is not None:
        return preset.listens.port
    program = ENGINES[engine].program
    usual = program.port if program is not None else None
    return (run.container.port or usual) if run.container is not None else None
