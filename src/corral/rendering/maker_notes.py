"""Notes on services whose machine or GPU is not what their image is made for; the same on every platform."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.values import Gpu
from corral.hardware.makers import NVIDIA, find_maker
from corral.rendering.installation import Deployed, Installation
from corral.rendering.makers import explain_wrong_maker


def list_native_notes(installation: Installation) -> Iterator[str]:
    """Say of services on a Mac that they run without a container, and where others reach them."""
    for deployed in installation.native:
        reached = "" if deployed.port is None else f"; others reach it at http://{deployed.host}:{deployed.port}"
        yield (
            f"{deployed.name} runs on a Mac, whose containers have no GPU: install it there and start it without one"
            f"{reached}."
        )


def list_maker_notes(installation: Installation, deployed: Deployed) -> Iterator[str]:
    """Say where a service's image does not compute on the GPU that it gets, and what the plan refused."""
    if not deployed.gpu_count:
        return
    refused = installation.places.refused.get((deployed.service.name, 0))
    makers = {find_maker(gpu) or NVIDIA for gpu in _list_gpus(installation, deployed)}
    wrong = [reason for maker in sorted(makers) if (reason := explain_wrong_maker(deployed.service, maker))]
    if makers and len(wrong) == len(makers):
        yield f"{deployed.name} cannot compute on its GPU: {wrong[0]}."
    elif refused is not None:
        yield f"{deployed.name} has no place in the plan, and waits: {refused}."


def _list_gpus(installation: Installation, deployed: Deployed) -> list[Gpu]:
    wanted = {(place.node, index) for place in deployed.places for index in place.gpus}
    gpus = [(node.name, gpu) for node in installation.cluster.nodes for gpu in node.gpus or ()]
    return [
        gpu
        for name, gpu in gpus
        if (name, gpu.index) in wanted
        or (not wanted and deployed.node in (None, name) and (deployed.gpus is None or gpu.index in deployed.gpus))
    ]
