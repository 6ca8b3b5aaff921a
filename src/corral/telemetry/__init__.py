"""What this machine is and how it feels: GPUs through NVML, memory, processors, disks.

Belongs here: reading hardware.
Does not belong here: deciding anything about it.
May import: `corral.hardware`, `corral.cluster`, `corral.units`, `corral.errors`.
"""
