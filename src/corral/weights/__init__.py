"""Model files: the catalogue, and a store that downloads, verifies and finds them.

Belongs here: names, sources, checksums, resumable downloads, the folder they are in.
Does not belong here: what a model needs in memory, how an engine loads it.
May import: `corral.engine_kinds`, `corral.files`, `corral.units`, `corral.errors`; `headers` also `corral.hardware` and
`corral.figures`.
"""
