"""A unit that sets power limits: after the daemon that keeps the driver loaded, and again with it (pitfall C01)."""

from __future__ import annotations

from corral.cluster.values import Node
from corral.rendering.cards import limited_cards, power_command
from corral.rendering.documents import header
from corral.rendering.installation import Installation
from corral.rendering.systemd.units import unit, word

UNIT = "gpu-power-limit"
"""On every system the same: alerts, logs and people look for it by this name."""
PERSISTENCE_UNIT = "nvidia-persistenced.service"
_PROGRAM = "/usr/bin/nvidia-smi"


def service(installation: Installation, node: Node) -> str:
    """The unit of a node. One card after the other: where one refuses its limit, the others keep theirs."""
    cards = limited_cards(node)
    commands = [f"{_PROGRAM} {' '.join(word(one) for one in power_command(card))}" for card in cards]
    notes = (
        f"Copy it to /etc/systemd/system/ on {node.name}, then: sudo systemctl enable --now {UNIT}.service",
        f"Check: nvidia-smi --query-gpu=index,uuid,power.limit --format=csv ({', '.join(card.name for card in cards)})",
        "A limit caps; it is no undervolt.",
    )
    return header(installation, *notes) + unit(
        (
            (
                "Unit",
                (
                    ("Description", "Power limits of GPUs, from the cluster file"),
                    ("Wants", PERSISTENCE_UNIT),
                    ("After", PERSISTENCE_UNIT),
                    ("PartOf", PERSISTENCE_UNIT),
                    ("Before", "k3s.service k3s-agent.service corral.service"),
                ),
            ),
            (
                "Service",
                (
                    ("Type", "oneshot"),
                    ("RemainAfterExit", "yes"),
                    ("#", "A limit that a card refuses is in the journal, and does not keep the next from being set."),
                    *(("ExecStart", f"-{command}") for command in commands),
                ),
            ),
            ("Install", (("WantedBy", f"multi-user.target {PERSISTENCE_UNIT}"),)),
        )
    )
