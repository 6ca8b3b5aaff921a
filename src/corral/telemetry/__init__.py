"""This machine and its state: GPUs through NVML and the kernel, memory, processors, disks, and the
devices they make.

Belongs here: reading hardware, comparing it with the cluster file, findings about it.
Does not belong here: deciding which task goes where; engines and the database.
May import: `corral.slots`, `corral.hardware`, `corral.cluster`, `corral.charts`, `corral.figures`, `corral.processes`,
`corral.work`, `corral.units`, `corral.errors`.
"""
