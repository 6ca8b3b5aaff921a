"""What this machine is made of: GPUs, processor, memory, drives, power supply, system, addresses.

Belongs here: reading each of them from the driver, the kernel and the board's tables; what cannot be found out is None.
Does not belong here: names of the GPU catalogue, the cluster file.
May import: what `corral.telemetry` may.
"""
