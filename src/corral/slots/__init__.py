"""Devices, the slots on them, and who holds them, while a server runs.

Slots come and go at run time: `Registry.compare` returns how what is wanted differs from what there is, as a value that
can be printed; `Registry.apply` adds, changes and removes slots, and nothing that is held changes before its hold ends.

Belongs here: devices, slots, holds, health, models in memory.
Does not belong here: what a task is stored as, which task goes where (`corral.scheduling`), reading a cluster file.
May import: `corral.cluster`, `corral.hardware`, `corral.scheduling`, `corral.hours`, `corral.work`, `corral.units`,
`corral.errors`.
"""
