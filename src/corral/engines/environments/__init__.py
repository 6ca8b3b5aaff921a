"""Environments of engines: the packages of an engine in a place of their own, apart from Corral's, from a locked file.

An engine's libraries are large, and two engines can want different versions of one: so an engine can run in a Python
environment of its own (`corral engines install`), and its worker process is started from there. The locked files are in
`locks`; `make lock` writes them (`requirements/lock_engines.py`).

Belongs here: building an environment, finding it, what its libraries need of a GPU.
Does not belong here: which engines have one (`corral.engine_kinds`), starting a worker (`corral.engines.local`).
May import: `corral.data_dir`, `corral.engine_kinds`, `corral.files`, `corral.processes`, `corral.work`,
`corral.errors`.
"""
