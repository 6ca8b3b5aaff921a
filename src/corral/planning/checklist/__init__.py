"""The checklist of an upgrade: what must be done and checked, item by item, for exactly this upgrade.

Belongs here: which items an upgrade needs, in which order, why, and what counts as their evidence.
Does not belong here: looking at machines, running commands, asking people, keeping what was answered
(`corral.operations.checklist`).
May import: `corral.hardware`, `corral.cluster`, `corral.figures`, `corral.units`, `corral.errors`.
"""

from __future__ import annotations

from corral.planning.checklist.making import make_checklist, write_checklist
from corral.planning.checklist.values import Checklist, Command, FromFile, Item, ItemKind, Outlook, Phase, Question

__all__ = [
    "Checklist",
    "Command",
    "FromFile",
    "Item",
    "ItemKind",
    "Outlook",
    "Phase",
    "Question",
    "make_checklist",
    "write_checklist",
]
