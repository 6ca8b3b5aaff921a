"""The gains, costs and requirements of an upgrade of a cluster's hardware, and whether to do it.

Two clusters go in, before and after, with what the planner and the simulator found about each; out comes one value with
every part of the report, and the report as Markdown, as one HTML page, and as JSON. Any cluster, any GPU.

Belongs here: comparing, weighing, wording.
Does not belong here: reading files, applying changes (`corral.planning.changes`), running anything.
May import: the same as `corral.planning`.
"""

from corral.planning.upgrade.adaptations import Adaptation, adapt, propose
from corral.planning.upgrade.advice import Advice, Recommendation
from corral.planning.upgrade.comparing import Findings, Upgrade, compare
from corral.planning.upgrade.hardware import compare_hardware
from corral.planning.upgrade.throughput import Throughput

__all__ = [
    "Adaptation",
    "Advice",
    "Findings",
    "Recommendation",
    "Throughput",
    "Upgrade",
    "adapt",
    "compare",
    "compare_hardware",
    "propose",
]
