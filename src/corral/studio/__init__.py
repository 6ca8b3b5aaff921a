"""The studio: characters, sets of their pictures, and which of them are kept.

Belongs here: what is asked for, what of it is there, verdicts, and the loop that makes what is missing.
Does not belong here: engines, which make and measure (`corral.engines`); HTTP (`corral.server`); printing.
May import: `corral.batchfile`, `corral.cluster`, `corral.engine_kinds`, `corral.engines`, `corral.errors`,
`corral.files`, `corral.narrowing`, `corral.requests`, `corral.tasks`, `corral.units`, `corral.wire`, `corral.work`.
"""
