"""Sets of pictures: characters, shots, variants and seeds, times one template; only what is missing is made.

Belongs here: the set file, what it stands for, what of it is missing, its rows in the database, and the keeper that
brings it to its end.
Does not belong here: verdicts on pictures (`corral.studio.quality`), making and measuring them (`corral.engines`),
HTTP.
May import: `corral.batchfile`, `corral.cluster` (for YAML with positions), `corral.engines.inputs`, `corral.requests`,
`corral.tasks` (for the database and the lead), `corral.errors`.
"""
